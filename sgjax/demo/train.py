"""Trains the demo model: `python -m sgjax.demo.train --out DIR --minutes 4 --seed 0`."""

import argparse
import functools
import itertools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from sgjax.demo.batches import Batch, BatchShape, batches
from sgjax.demo.export import export
from sgjax.demo.model import ModelSize, Params, init_params, loss
from sgjax.demo.tokenizer import train_tokenizer

WARM_UP_STEPS = 150


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--minutes", type=float, default=4.0, help="limit on the training loop")
    parser.add_argument(
        "--steps", type=int, default=0, help="limit on steps; repeats a run exactly"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=256, help="rows of 512 tokens in a batch")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--layers", type=int, default=ModelSize.num_layers)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    return parser.parse_args()


def shapes(num_rows: int) -> Iterator[BatchShape]:
    """Mostly short rows; one batch in 10 has rows of the whole context, filled by conversations."""
    short, long = BatchShape(num_rows, 512, 8), BatchShape(max(1, num_rows // 64), 8192, 300)
    return (long if i % 10 == 9 else short for i in itertools.count())


def optimizer() -> optax.GradientTransformation:
    """AdamW whose learning rate is set for every step; norms and biases do not decay."""

    def decays(params: Params) -> Params:
        return jax.tree_util.tree_map_with_path(lambda path, _: "norm" not in str(path[-1]), params)

    adam = optax.scale_by_adam(b1=0.9, b2=0.95)
    decay = optax.add_decayed_weights(0.1, mask=decays)
    return optax.chain(optax.clip_by_global_norm(1.0), adam, decay)


def learning_rate(step: int, progress: float, peak: float) -> float:
    """A linear warm-up by steps, then a cosine by the share of the run that is done, to zero."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * min(1.0, (step + 1) / WARM_UP_STEPS) * cosine


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def train_step(size: ModelSize, dtype, params: Params, state, tokens, segments, weights, rate):
    value, grads = jax.value_and_grad(loss, argnums=1)(
        size, params, tokens, segments, weights, dtype=dtype
    )
    updates, state = optimizer().update(grads, state, params)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    return params, state, value


def on_device(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    return jnp.asarray(batch.tokens), jnp.asarray(batch.segments), jnp.asarray(batch.weights)


def report(seconds: float, step: int, value: float, num_tokens: int) -> None:
    tokens = f"{num_tokens / 1e6:.1f} M tokens"
    print(f"{seconds:6.1f} s  step {step:5d}  loss {value:.4f}  {tokens}", flush=True)


def train(args: argparse.Namespace) -> None:
    began = time.monotonic()
    tokenizer = train_tokenizer(args.seed)
    size = ModelSize(vocab_size=tokenizer.get_vocab_size(), num_layers=args.layers)
    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    params = init_params(size, jax.random.key(args.seed))
    state = optimizer().init(params)
    num_params = sum(p.size for p in jax.tree.leaves(params))
    print(f"{num_params / 1e6:.2f} M parameters, tokenizer in {time.monotonic() - began:.0f} s")
    start, value, num_tokens = time.monotonic(), jnp.nan, 0
    every = batches(tokenizer, shapes(args.rows), args.seed, args.workers)
    for step, batch in enumerate(every):
        done = (time.monotonic() - start) / (60 * args.minutes)
        progress = step / args.steps if args.steps else done
        if progress >= 1.0:
            break
        rate = learning_rate(step, progress, args.learning_rate)
        params, state, value = train_step(size, dtype, params, state, *on_device(batch), rate)
        num_tokens += batch.tokens.size
        if step % 50 == 0:
            report(time.monotonic() - start, step, float(value), num_tokens)
    every.close()
    export(args.out, size, params, tokenizer)
    print(
        f"{step} steps, {num_tokens / 1e6:.0f} M tokens, loss {float(value):.4f}, wrote {args.out}"
    )


if __name__ == "__main__":
    train(arguments())

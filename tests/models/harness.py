"""Tiny random checkpoints, saved by transformers and stepped through by our loader and model."""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import torch
import transformers
from safetensors.torch import save_file

from sgjax.cache.kv_cache import init_kv
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.layers.inputs import StepInputs
from sgjax.models import read_model_config
from sgjax.models.decoder import forward
from sgjax.models.family import Pooling
from sgjax.sharding.mesh import Placement, make_mesh
from sgjax.weights.load import open_model

PAGE_SIZE = 4
NUM_PAGES = 32
MAX_TOKENS = 32
MAX_ROWS = 4
MAX_PAGES_PER_ROW = 8

Publish = Callable[[transformers.PreTrainedModel], tuple[dict[str, Any], dict[str, torch.Tensor]]]
"""From a model to config.json and tensors; it may change the model, to compute the same."""

Step = Sequence[tuple[str, int]]
"""Rows of a step, those of one token first: (name of a sequence, how many of its next tokens)."""

SCHEDULE: list[Step] = [
    [("whole", 16)],
    [("chunked", 5)],
    [("whole", 1), ("chunked", 7), ("late", 9)],
    [("chunked", 3), ("late", 4)],
    *[[("late", 1), ("whole", 1), ("chunked", 1)]] * 4,
]
"""A whole prompt, a prompt in chunks, both beside decoding rows, then decoding together."""


def save(
    config: transformers.PreTrainedConfig, folder: Path, publish: Publish | None = None
) -> transformers.PreTrainedModel:
    """Saves a model whose every weight matters: matrices large, norms and biases far from 1, 0.

    `publish` gives config.json and the tensors as a family has them that transformers lacks.
    """
    torch.manual_seed(0)
    model = reference(config)
    make_weights_matter(model)
    if publish is None:
        model.save_pretrained(folder)
        return model
    values, tensors = publish(model)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(values))
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, folder / "model.safetensors")
    return model


def make_weights_matter(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "norm" not in name.split(".")[-2]:
                weight.normal_(0, 0.15)
            else:
                weight.normal_(1.0 if "norm" in name.lower() else 0.0, 0.3)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, 0.3)


def reference(config: transformers.PreTrainedConfig) -> transformers.PreTrainedModel:
    config._attn_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def reference_logits(model: transformers.PreTrainedModel, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(tokens).long()[None], use_cache=False).logits[0].numpy()


class Stepper:
    """A model of ours with a cache, and what sequences have in it so far. Pages come shuffled."""

    def __init__(
        self,
        folder: Path,
        tp: int = 1,
        *,
        ep: int = 1,
        attention: str = "reference",
        context_length: int | None = None,
        pooling: Pooling | None = None,
    ):
        family, cfg = read_model_config(folder, context_length=context_length)
        self.cfg = cfg = dataclasses.replace(cfg, pooling=pooling or cfg.pooling).for_tp(tp, ep=ep)
        mesh = make_mesh(tp, ep_size=ep)
        model = open_model(folder, family, cfg, Placement(mesh, attention), dtype=jnp.float32)
        self.params = model.load()
        self.kv = init_kv(cfg, NUM_PAGES * PAGE_SIZE, jnp.float32, mesh)
        self._forward = jax.jit(
            functools.partial(forward, model.graphdef),
            donate_argnums=1,
            compiler_options={"xla_backend_optimization_level": 0},  # it compiles twice as fast
        )
        self._free = np.random.default_rng(0).permutation(NUM_PAGES).tolist()
        self._pages: dict[str, list[int]] = {}
        self._lengths: dict[str, int] = {}

    def step(
        self, rows: list[tuple[str, np.ndarray]], *, only_decode: bool = False
    ) -> dict[str, np.ndarray]:
        """Computes the next tokens of some sequences; gives the logits of each of them."""
        inputs, spans = self._pack(rows, MAX_ROWS if only_decode else MAX_TOKENS + 1)
        if not only_decode:  # fewer logits than tokens, and in another order
            inputs = dataclasses.replace(inputs, logit_rows=inputs.logit_rows[-2::-1])
        inputs = dataclasses.replace(inputs, only_decode=only_decode)
        logits, self.kv = self._forward(self.params, self.kv, inputs)
        logits = np.asarray(logits) if only_decode else np.asarray(logits)[::-1]
        return {name: logits[start:stop] for name, (start, stop) in spans.items()}

    def run(self, schedule: list[Step], tokens: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The logits of every token that a schedule computes."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in tokens}
        for step in schedule:
            at = {name: self._lengths.get(name, 0) for name, _ in step}
            rows = [(name, tokens[name][at[name] : at[name] + count]) for name, count in step]
            for name, logits in self.step(rows).items():
                found[name].append(logits)
        return {name: np.concatenate(logits) for name, logits in found.items() if logits}

    def continue_greedily(
        self, logits: dict[str, np.ndarray], count: int
    ) -> dict[str, tuple[list[int], np.ndarray]]:
        """The next tokens of sequences that have these logits last, each the likeliest, and the
        logprobs of each."""
        tokens: dict[str, list[int]] = {name: [] for name in logits}
        logprobs: dict[str, list[np.ndarray]] = {name: [] for name in logits}
        last = {name: of_all[-1] for name, of_all in logits.items()}
        for _ in range(count):
            for name, values in last.items():
                tokens[name].append(int(values.argmax()))
                logprobs[name].append(scipy.special.log_softmax(values))
            stepped = self.step([(name, np.array(ids[-1:])) for name, ids in tokens.items()])
            last = {name: of_token[0] for name, of_token in stepped.items()}
        return {name: (tokens[name], np.stack(logprobs[name])) for name in logits}

    def _pack(
        self, rows: list[tuple[str, np.ndarray]], size: int
    ) -> tuple[StepInputs, dict[str, tuple[int, int]]]:
        tokens, positions = np.zeros((2, size), np.int32)
        slots = np.full(size, NUM_PAGES * PAGE_SIZE, np.int32)
        tables = np.zeros((MAX_ROWS, MAX_PAGES_PER_ROW), np.int32)
        starts, counts, lengths = np.zeros((3, MAX_ROWS), np.int32)
        spans, end = {}, 0
        for i, (name, ids) in enumerate(rows):
            at = np.arange(len(ids)) + self._lengths.get(name, 0)
            pages = self._grow(name, at[-1] + 1)
            start, end = end, end + len(ids)
            tokens[start:end], positions[start:end] = ids, at
            slots[start:end] = pages[at // PAGE_SIZE] * PAGE_SIZE + at % PAGE_SIZE
            tables[i, : len(pages)] = pages
            starts[i], counts[i], lengths[i] = start, len(ids), at[-1] + 1
            spans[name] = (start, end)
        arrays = map(jnp.asarray, (tables, starts, counts, lengths))
        num_decode = sum(len(ids) == 1 for _, ids in rows)
        ragged = RaggedRows(*arrays, jnp.int32(num_decode))
        inputs = StepInputs(
            *map(jnp.asarray, (tokens, positions, slots)),
            ragged,
            jnp.arange(size, dtype=jnp.int32),
            page_size=PAGE_SIZE,
            only_decode=False,
        )
        return inputs, spans

    def _grow(self, name: str, length: int) -> np.ndarray:
        pages = self._pages.setdefault(name, [])
        while len(pages) * PAGE_SIZE < length:
            pages.append(self._free.pop())
        self._lengths[name] = length
        return np.array(pages)


def sequences(vocab_size: int, schedule: list[Step] = SCHEDULE) -> dict[str, np.ndarray]:
    """Random tokens, as many as the schedule computes of each sequence."""
    rng = np.random.default_rng(1)
    lengths: dict[str, int] = {}
    for name, count in (row for step in schedule for row in step):
        lengths[name] = lengths.get(name, 0) + count
    return {name: rng.integers(0, vocab_size, length) for name, length in lengths.items()}

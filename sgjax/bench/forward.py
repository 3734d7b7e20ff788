"""Forward programs by themselves, under several of XLA's options: what `engine/compiler_options.py`
rests on.

    python -m sgjax.bench.forward --shape llama-3.1-8b [--decode 1,64,256] [--prompts 1024,8192]

For each way to compile: seconds to compile, and milliseconds a step takes the device and a launch
takes the host, when steps are launched one after the other without looking at what comes out. A
decoding row has --context tokens; prompts are 2048 tokens long, or as long as the step. "first":
cuBLASLt's first choice; "cublas": its best by measurement; "any": Triton's or cuBLAS's. A trailing
"-plain" launches kernels one by one.
"""

import argparse
import dataclasses
import time
from array import array
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgjax.bench.shapes import shape_folder
from sgjax.config import ServeConfig
from sgjax.engine.batch import Batch, Row
from sgjax.engine.buckets import Bucket, pick
from sgjax.engine.request import Request
from sgjax.engine.runner import ModelRunner
from sgjax.engine.setup import prepare
from sgjax.engine.step import pack_forward
from sgjax.engine.step_programs import DeviceState
from sgjax.engine.traces import Traces
from sgjax.sampling_params import SamplingParams

WAYS: dict[str, dict[str, Any]] = {
    "first": {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0},
    "cublas": {"xla_gpu_enable_triton_gemm": False},
    "any": {},
}
PLAIN = {"xla_gpu_enable_command_buffer": ""}
PROMPT = 2048
SECONDS = 0.4
"""How long each of the runs takes, about; a GPU that is busy for longer slows down."""
RUNS = 3


def options_of(way: str) -> dict[str, Any] | None:
    """XLA's options of a way, which only GPUs know."""
    if jax.default_backend() != "gpu":
        return None
    name, _, plain = way.partition("-")
    return WAYS[name] | (PLAIN if plain else {})


def decoding(rows: int, context: int) -> Batch:
    """Rows of one token each, the last of `context`."""
    return _batch([(context - 1, 1)] * rows, num_decoding=rows)


def prompts(num_tokens: int) -> Batch:
    """So many tokens of prompts, from their first on."""
    lengths = [PROMPT] * (num_tokens // PROMPT) or [num_tokens]
    return _batch([(0, length) for length in lengths], num_decoding=0)


def _batch(parts: Sequence[tuple[int, int]], *, num_decoding: int) -> Batch:
    chance = np.random.default_rng(0)
    rows = []
    for slot, (start, count) in enumerate(parts):
        tokens = array("i", chance.integers(0, 1000, start + count).tolist())
        request = Request(f"r{slot}", tokens, SamplingParams())
        rows.append(Row(request, slot, start, count, True, start + count - 1))
    return Batch.of(rows, num_decoding=num_decoding)


class Steps:
    """Steps of one runner's model, launched by hand."""

    def __init__(self, runner: ModelRunner):
        self._runner = runner
        self._blueprint = runner.blueprint
        self._state = self._spread(runner.state)

    def _spread(self, state: DeviceState) -> DeviceState:
        """Every slot has pages of its own, as far as there are so many."""
        shape = self._blueprint.shape
        each = max(1, shape.num_pages // shape.num_slots)
        slots, columns = np.indices(state.tables.shape)
        pages = (slots * each + columns % each) % shape.num_pages
        tokens = 1 + np.arange(shape.num_slots) % 999
        place = state.tables.sharding
        return dataclasses.replace(
            state,
            tables=jax.device_put(jnp.asarray(pages, jnp.int32), place),
            last_tokens=jax.device_put(jnp.asarray(tokens, jnp.int32), place),
        )

    def measure(self, batch: Batch, way: str) -> tuple[Bucket, float, float, float]:
        """The bucket, seconds to compile, and seconds of a step for the device and the host."""
        bucket = pick(self._blueprint.buckets, batch)
        lowered = Traces().lower(self._blueprint.untraced["forward", bucket])
        begin = time.perf_counter()
        program = lowered.compile(options_of(way))
        compiled = time.perf_counter() - begin
        part = self._blueprint.forward_part(bucket)
        inbox = np.zeros(self._state.inbox.shape, np.int32)
        inbox[part] = pack_forward(batch, bucket, self._blueprint.shape)
        place = self._state.inbox.sharding
        self._state = dataclasses.replace(self._state, inbox=jax.device_put(inbox, place))
        self._run(program, 1)
        count = max(3, min(64, int(SECONDS / self._run(program, 1)[0])))
        best = min(self._run(program, count) for _ in range(RUNS))
        return bucket, compiled, *best

    def _run(self, program: Any, count: int) -> tuple[float, float]:
        begin = time.perf_counter()
        logits = None
        for _ in range(count):
            state = self._state
            del logits  # as in the engine: so that the next may lie where this one lay
            logits, kv, tables = program(
                self._runner.weights, state.kv, state.tables, state.last_tokens, state.inbox
            )
            self._state = dataclasses.replace(state, kv=kv, tables=tables)
        launched = time.perf_counter() - begin
        jax.block_until_ready(logits)
        return (time.perf_counter() - begin) / count, launched / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="llama-3.1-8b")
    parser.add_argument("--context", type=int, default=1088)
    parser.add_argument("--context-length", type=int, default=16384)
    parser.add_argument("--max-total-tokens", type=int)
    parser.add_argument("--decode", default="1,8,32,64,128,256")
    parser.add_argument("--prompts", default="128,512,1024,2048,8192")
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args()
    with shape_folder(options.shape) as folder:
        config = ServeConfig(
            model_path=str(folder),
            load_format="dummy",
            skip_tokenizer_init=True,
            context_length=options.context_length,
            max_total_tokens=options.max_total_tokens,
        )
        runner = prepare(config, lambda _: None).runner
        runner.load()
        steps = Steps(runner)
    batches = [decoding(int(n), options.context) for n in filter(None, options.decode.split(","))]
    batches += [prompts(int(n)) for n in filter(None, options.prompts.split(","))]
    print(f"{'way':12} {'program':44} compile s   step ms   host ms")
    for way in options.ways.split(","):
        for batch in batches:
            bucket, compiled, step, host = steps.measure(batch, way)
            figures = f"{compiled:9.1f} {step * 1e3:9.3f} {host * 1e3:9.3f}"
            print(f"{way:12} {bucket!s:44} {figures}", flush=True)


if __name__ == "__main__":
    main()

"""What work draws, each kind for seconds: rates at first and in all, the clock and the watts.

    python -m sgjax.bench.power [--seconds 3] [--small]

A GPU that draws more than it may lowers its clock, which slows products down and reading not. So
this tells what a step can take that goes on, where a short measurement tells what it could.
"""

import argparse
import contextlib
import dataclasses
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from sgjax.bench.kernels.attention import OP
from sgjax.bench.kernels.programs import CALLS
from sgjax.bench.kernels.timing import IN_FLIGHT, compiled, launch

BEGINNING_S = 0.1
SETTLED_S = 1.0
"""Before this, clock and watts are still changing."""
ASK = ("nvidia-smi", "--query-gpu=clocks.sm,power.draw", "--format=csv,noheader,nounits", "-lms=50")
LAYER = ((4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096))
"""Of a Llama of 8B."""
SMALL_LAYER = ((64, 96), (64, 64))


@dataclasses.dataclass(frozen=True)
class Work:
    """A program and its arguments, and how much it does of `unit` (times 10^12)."""

    name: str
    function: Any
    arguments: tuple[Any, ...]
    amount: float
    unit: str


class Meter:
    """Clock (MHz) and power (W) of the GPU that JAX computes on, as nvidia-smi tells them."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float, float]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Where there is no nvidia-smi, nothing is told."""
        device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        try:
            process = subprocess.Popen([*ASK, "-i", device], stdout=subprocess.PIPE, text=True)
        except OSError:
            yield
            return
        with process:
            listening = threading.Thread(target=self._listen, args=(process.stdout,))
            listening.start()
            try:
                yield
            finally:
                process.kill()
                listening.join()

    def _listen(self, lines: Iterable[str]) -> None:
        for line in lines:
            with contextlib.suppress(ValueError):
                clock, watts = map(float, line.split(","))
                self._samples.append((time.perf_counter(), clock, watts))

    def between(self, first: float, last: float) -> str:
        found = [sample[1:] for sample in self._samples if first <= sample[0] <= last]
        if not found:
            return ""
        clock, watts = map(statistics.mean, zip(*found, strict=True))
        return f", {clock:.0f} MHz, {watts:.0f} W"


def works(*, small: bool) -> Iterator[Work]:
    """Reading the cache, copying, and a layer's products for several numbers of tokens."""
    case = OP.small[0] if small else next(c for c in OP.real if c.name == "decode 256 x 1024")
    arrays = OP.spread(case, OP.arrays(case, 0), CALLS)
    chain = OP.chain(OP.call(case, None, False), CALLS)
    yield Work(case.name, chain, arrays, OP.num_bytes(case) * CALLS, "TB/s")
    x = jnp.zeros(2**12 if small else 2**30, jnp.bfloat16)
    yield Work("copy", lambda x: x + jnp.bfloat16(1), (x,), 2 * x.nbytes, "TB/s")
    sizes = SMALL_LAYER if small else LAYER
    for tokens in (8,) if small else (256, 512, 8192):
        keys = jax.random.split(jax.random.key(0), 2 * len(sizes))
        inputs = [
            jax.random.normal(key, (tokens, size[0]), jnp.bfloat16)
            for key, size in zip(keys, sizes, strict=False)
        ]
        weights = [
            jax.random.normal(key, size, jnp.bfloat16) * 0.02
            for key, size in zip(keys[len(sizes) :], sizes, strict=True)
        ]
        operations = sum(2 * tokens * wide * high for wide, high in sizes)
        yield Work(f"products of {tokens}", _products, (inputs, weights), operations, "TFLOP/s")


def _products(inputs: list[jax.Array], weights: list[jax.Array]) -> list[jax.Array]:
    return [x @ w for x, w in zip(inputs, weights, strict=True)]


def measure(work: Work, meter: Meter, seconds: float) -> str:
    """A line: how fast it was at first and later."""
    program = compiled(work.function, work.arguments)
    jax.block_until_ready(program(*work.arguments))
    begin, count, early = time.perf_counter(), 0, None
    while (taken := time.perf_counter() - begin) < seconds or early is None:
        launch(program, work.arguments)
        count += IN_FLIGHT
        if early is None and taken > min(BEGINNING_S, seconds / 2):
            early = count / (time.perf_counter() - begin)
    end = time.perf_counter()
    first, later = (rate * work.amount / 1e12 for rate in (early, count / (end - begin)))
    told = meter.between(min(begin + SETTLED_S, end), end)
    return f"{work.name:24} {first:8.3g} {work.unit} at first, {later:8.3g} in all{told}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--small", action="store_true", help="sizes for any machine")
    options = parser.parse_args()
    jnp.zeros(()).block_until_ready()
    meter = Meter()
    with meter.running():
        for work in works(small=options.small):
            print(measure(work, meter, options.seconds), flush=True)


if __name__ == "__main__":
    main()

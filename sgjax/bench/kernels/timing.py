"""How long compiled programs take on this device, and how fast it can copy and multiply."""

import dataclasses
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from sgjax.bench.kernels.op import Arrays, Call

RUNS = 15
IN_FLIGHT = 4
"""Times that a program is launched before its results are waited for: what the launch of all but
the first takes is hidden, as in an engine."""
PRODUCTS = 8
"""In one program, each on the result of the one before."""


def seconds_of(program: Call, arrays: Arrays, runs: int = RUNS) -> float:
    """The median of several runs of a compiled program, after one that is not counted."""
    jax.block_until_ready(program(*arrays))
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        launch(program, arrays)
        taken.append((time.perf_counter() - begin) / IN_FLIGHT)
    return statistics.median(taken)


def launch(program: Call, arrays: Arrays) -> None:
    """IN_FLIGHT times, and waits."""
    jax.block_until_ready([program(*arrays) for _ in range(IN_FLIGHT)])


def compiled(call: Call, arrays: Arrays) -> Any:
    return jax.jit(call).lower(*arrays).compile()


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What this device reaches: bytes a second, read and written together, and operations a second
    of a large bfloat16 product."""

    copy: float
    matmul: float


def measure_ceilings(*, is_large: bool) -> Ceilings:
    """`is_large`: in sizes for an accelerator; else for a CPU."""
    num_values, width = (2**29, 8192) if is_large else (2**20, 256)
    values = jnp.zeros(num_values, jnp.bfloat16)
    one = jnp.bfloat16(1)
    copy_s = seconds_of(compiled(lambda x: x + one, (values,)), (values,))
    matrix = jnp.full((width, width), 1 / width, jnp.bfloat16)

    def products(x):
        for _ in range(PRODUCTS):
            x = x @ matrix
        return x

    matmul_s = seconds_of(compiled(products, (matrix,)), (matrix,)) / PRODUCTS
    return Ceilings(copy=2 * values.nbytes / copy_s, matmul=2 * width**3 / matmul_s)

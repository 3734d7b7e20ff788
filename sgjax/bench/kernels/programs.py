"""Timed programs: many at a time are compiled, one at a time is run."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax

from sgjax.bench.kernels.op import Arrays, Call, Op
from sgjax.bench.kernels.timing import seconds_of

CALLS = 16
"""In one program, like layers."""
CANNOT_RUN = (jax.errors.JaxRuntimeError, NotImplementedError, ValueError, TypeError)
"""What compiling or running raises for sizes that a device cannot do."""


@dataclasses.dataclass(frozen=True)
class Program:
    """Calls of an operation, ready to be run, or the reason why they cannot be."""

    compiled: Any
    arrays: Arrays
    num_calls: int
    failure: str | None = None

    def result(self) -> jax.Array:
        """Of the first call."""
        return self.compiled(*self.arrays)[0]

    def seconds_per_call(self, runs: int) -> float:
        return seconds_of(self.compiled, self.arrays, runs) / self.num_calls


def compile_all(op: Op, works: Sequence[tuple[Call, Arrays]], num_calls: int) -> list[Program]:
    """Programs of calls on arrays that were spread for so many, in their order; compiled side by
    side, and none is there to be timed before all are."""

    def compile_one(work: tuple[Call, Arrays]) -> Program:
        call, arrays = work
        try:
            program = jax.jit(op.chain(call, num_calls)).lower(*arrays).compile()
        except CANNOT_RUN as error:
            return Program(None, arrays, num_calls, failure=reason(error))
        return Program(program, arrays, num_calls)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, works))


def reason(error: Exception) -> str:
    """An error's first line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]

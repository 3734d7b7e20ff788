"""How fast ragged paged attention is here: `python tests/device/attention_speed.py [name part]`.

Bytes are those of the keys and values that the rows have, each counted once; operations are those
of causal attention: 4 * H for each query head and pair of a token and one it sees.
"""

import functools
import statistics
import sys
import time

import jax
import jax.numpy as jnp

from sgjax.kernels_pallas.ragged_paged_attention import cases, ragged_paged_attention
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case, make_inputs

CALLS = 16
"""In one program, like layers: each takes the last one's result as its q."""
COLD_BYTES = 256 * 2**20
"""The caches of one program come to this at least, so that a call does not find its own in L2."""


def num_bytes(case: Case) -> int:
    """Of the keys and values that there are, in bfloat16."""
    repeated = sum((num_rows - 1) * num_tokens for num_rows, num_tokens in case.groups)
    return (sum(case.lengths) - repeated) * case.kv_heads * case.head * 2 * 2


def num_operations(case: Case) -> int:
    """Of both products, over what each token sees."""
    pairs = sum(
        new * (length - new) + new * (new + 1) // 2
        for length, new in zip(case.lengths, case.num_tokens, strict=True)
    )
    return 4 * case.head * case.kv_heads * case.group * pairs


def make_arrays(case: Case):
    """q, caches and rows of a program: as many caches as it takes for calls to find none in L2."""
    inputs = make_inputs(case, 0, jnp.bfloat16)
    copies = min(CALLS, 1 + COLD_BYTES // num_bytes(case))
    caches = [(inputs.k, inputs.v)] + [(inputs.k + 0, inputs.v + 0) for _ in range(copies - 1)]
    return inputs.q, caches, inputs.rows


def make_program(op, arrays):
    """A compiled program of CALLS calls of `op(q, k, v, rows)`."""

    @jax.jit
    def program(q, caches, rows):
        for i in range(CALLS):
            q = op(q, *caches[i % len(caches)], rows)
        return q

    return program.lower(*arrays).compile()


def seconds_per_call(program, arrays) -> float:
    """The median over runs of the program."""
    jax.block_until_ready(program(*arrays))
    runs = []
    for _ in range(15):
        begin = time.perf_counter()
        jax.block_until_ready(program(*arrays))
        runs.append(time.perf_counter() - begin)
    return statistics.median(runs) / CALLS


def report(name: str, case: Case, seconds: float) -> None:
    """One line of the table."""
    print(
        f"{name:45} {seconds * 1e6:9.1f} us {num_bytes(case) / seconds / 1e12:6.2f} TB/s "
        f"{num_operations(case) / seconds / 1e12:7.1f} TFLOP/s",
        flush=True,
    )


def main(part: str = "") -> None:
    """Measures the real cases whose name has `part`."""
    print(jax.devices()[0].device_kind, "JAX", jax.__version__)
    for case in cases.REAL:
        if part in case.name:
            op = functools.partial(ragged_paged_attention, **case.static)
            arrays = make_arrays(case)
            report(case.name, case, seconds_per_call(make_program(op, arrays), arrays))


if __name__ == "__main__":
    main(*sys.argv[1:])

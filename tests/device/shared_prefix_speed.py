"""What reading shared prefixes once is worth here: `python tests/device/shared_prefix_speed.py`.

For each shape: every row by itself, the rows' own tokens alone (what no sharing can save), and the
shared prefixes with many block sizes, the best first. PYTHONPATH is the repository's root.
"""

import concurrent.futures
import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp

from sgjax.bench.kernels.attention import OP
from sgjax.bench.kernels.timing import compiled, seconds_of
from sgjax.kernels_pallas.block_sizes import device_kind
from sgjax.kernels_pallas.ragged_paged_attention import (
    cases,
    ragged_paged_attention,
    triton_block,
    triton_decode,
    triton_shared,
)
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case

CALLS = 16
CANDIDATES = tuple(
    triton_shared.Sizes(rows, block, warps, stages, programs)
    for (rows, warps), (block, stages), programs in itertools.product(
        ((32, 4), (64, 4), (128, 8)), ((32, 4), (64, 3), (128, 2)), (264, 396, 528)
    )
)


def make_arrays(case: Case):
    """q, caches and rows of a program of CALLS calls."""
    return OP.spread(case, OP.arrays(case, 0), CALLS)


def make_program(op, arrays):
    """A compiled program of CALLS calls of `op(q, k, v, rows)`."""
    return compiled(OP.chain(op, CALLS), arrays)


def seconds_per_call(program, arrays) -> float:
    return seconds_of(program, arrays) / CALLS


def op_with(sizes: triton_shared.Sizes, case: Case):
    """The op of a decode step, with these sizes for its shared prefixes."""
    options = triton_block.Options(case.page_size, case.head**-0.5, case.window, case.soft_cap)
    decode = triton_decode.sizes(case.head * 2, jnp.bfloat16, device_kind())

    def op(*arrays):
        prefixes = triton_shared.attend(*arrays, options=options, sizes=sizes)
        return triton_decode.decode(*arrays, options=options, sizes=decode, prefixes=prefixes)

    return op


def own_alone(case: Case) -> Case:
    """The case without the tokens that its rows share."""
    lengths = tuple(
        length - shared for length, (_, shared) in zip(case.decode, case.shared, strict=True)
    )
    return dataclasses.replace(case, decode=lengths, groups=())


def time_plain(name: str, case: Case) -> float:
    """One line: the case as if nothing were shared."""
    arrays = make_arrays(case)
    rows = dataclasses.replace(arrays[-1], shared=None)
    arrays = *arrays[:-1], rows
    op = functools.partial(ragged_paged_attention, **case.static)
    seconds = seconds_per_call(make_program(op, arrays), arrays)
    print(f"  {name:60} {seconds * 1e6:8.1f} us", flush=True)
    return seconds


def time_shared(case: Case, plain: float) -> None:
    """A line for each candidate: programs are compiled side by side, and timed one by one."""
    arrays = make_arrays(case)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        made = [pool.submit(make_program, op_with(sizes, case), arrays) for sizes in CANDIDATES]
    found = []
    for sizes, future in zip(CANDIDATES, made, strict=True):
        if error := future.exception():
            print(f"  {sizes}: {str(error).splitlines()[0][:120]}")
        else:
            found.append((seconds_per_call(future.result(), arrays), str(sizes)))
    for seconds, sizes in sorted(found):
        print(f"  {sizes:60} {seconds * 1e6:8.1f} us, {plain / seconds:5.2f} x", flush=True)


def main() -> None:
    """Measures the real cases that share something."""
    print(jax.devices()[0].device_kind, "JAX", jax.__version__)
    for case in cases.REAL:
        if case.groups:
            print(case.name)
            plain = time_plain("each row by itself", case)
            time_plain("own tokens alone", own_alone(case))
            time_shared(case, plain)


if __name__ == "__main__":
    main()

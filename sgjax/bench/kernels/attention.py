"""Ragged paged attention, as a benchmark sees it.

Bytes are those of the keys and values that there are, each counted once, also where several rows
share them; operations are those of causal attention: 4 * H for each query head and pair of a token
and one it sees.
"""

import functools

import jax.numpy as jnp

from sgjax.bench.kernels.op import Arrays, Call, Op, TunedKernel
from sgjax.kernels_pallas.block_sizes import device_kind
from sgjax.kernels_pallas.ragged_paged_attention import (
    cases,
    ragged_paged_attention,
    triton,
    triton_block,
    triton_decode,
    triton_extend,
    triton_shared,
)
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case, make_inputs
from sgjax.kernels_pallas.tiles import next_power_of_two

DTYPE = jnp.bfloat16
COLD_BYTES = 256 * 2**20
"""The caches of one program come to this at least, so that a call does not find its own in L2."""


def num_bytes(case: Case) -> int:
    repeated = sum((num_rows - 1) * num_tokens for num_rows, num_tokens in case.groups)
    per_token = case.kv_heads * case.head * 2 * jnp.dtype(DTYPE).itemsize
    return (sum(case.lengths) - repeated) * per_token


def num_operations(case: Case) -> int:
    pairs = sum(
        new * (length - new) + new * (new + 1) // 2
        for length, new in zip(case.lengths, case.num_tokens, strict=True)
    )
    return 4 * case.head * case.kv_heads * case.group * pairs


def row_bytes(case: Case) -> int:
    """Of one head of one token, padded as tiles are."""
    return next_power_of_two(case.head) * jnp.dtype(DTYPE).itemsize


def _arrays(case: Case, seed: int) -> Arrays:
    inputs = make_inputs(case, seed, DTYPE)
    return inputs.q, inputs.k, inputs.v, inputs.rows


def _call(case: Case, implementation: str | None, interpret: bool) -> Call:
    if interpret:
        return functools.partial(triton.ragged_paged_attention, interpret=True, **case.static)
    return functools.partial(ragged_paged_attention, implementation=implementation, **case.static)


def _spread(case: Case, arrays: Arrays, count: int) -> Arrays:
    q, k, v, rows = arrays
    copies = min(count, 1 + COLD_BYTES // max(num_bytes(case), 1))
    caches = [(k, v)] + [(k + 0, v + 0) for _ in range(copies - 1)]
    return q, caches, rows


def _chain(call: Call, count: int) -> Call:
    """Each call takes the last one's result as its q, as layers do, and the next cache."""

    def program(q, caches, rows):
        first = last = call(q, *caches[0], rows)
        for i in range(1, count):
            last = call(last, *caches[i % len(caches)], rows)
        return first, last

    return program


def _options(case: Case, interpret: bool) -> triton_block.Options:
    scale = case.head**-0.5
    return triton_block.Options(
        case.page_size, scale, case.soft_cap, case.view, interpret=interpret
    )


def _decode(case: Case, sizes: triton_decode.Sizes, interpret: bool) -> Call:
    return functools.partial(triton_decode.decode, options=_options(case, interpret), sizes=sizes)


def _extend(case: Case, sizes: triton_extend.Sizes, interpret: bool) -> Call:
    return functools.partial(triton_extend.extend, options=_options(case, interpret), sizes=sizes)


def _shared(case: Case, sizes: triton_shared.Sizes, interpret: bool) -> Call:
    """With the decode kernel after it, as it is now, which makes a result of its states."""
    options = _options(case, interpret)
    decode = triton_decode.sizes(row_bytes(case), DTYPE, device_kind())

    def call(*arrays):
        prefixes = triton_shared.attend(*arrays, options=options, sizes=sizes)
        return triton_decode.decode(*arrays, options=options, sizes=decode, prefixes=prefixes)

    return call


def _sizes_of(kernel):
    return lambda case, kind: kernel.sizes(row_bytes(case), DTYPE, kind)


OP = Op(
    name="ragged_paged_attention",
    real=cases.REAL,
    small=cases.SMALL,
    arrays=_arrays,
    call=_call,
    spread=_spread,
    chain=_chain,
    num_bytes=num_bytes,
    num_operations=num_operations,
    shape_class=row_bytes,
    kernels=(
        TunedKernel(
            name="decode",
            takes=lambda case: case.only_decode and not case.groups and bool(case.decode),
            sizes=_sizes_of(triton_decode),
            call=_decode,
        ),
        TunedKernel(
            name="extend",
            takes=lambda case: not case.decode and bool(case.extend),
            sizes=_sizes_of(triton_extend),
            call=_extend,
        ),
        TunedKernel(
            name="shared",
            takes=lambda case: case.only_decode and bool(case.groups) and not case.view.leaves_out,
            sizes=_sizes_of(triton_shared),
            call=_shared,
        ),
    ),
)

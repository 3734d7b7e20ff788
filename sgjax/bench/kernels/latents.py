"""Latent attention, as a benchmark sees it.

Bytes are those of the latents that there are, and of queries and results; operations are those of
causal attention: for each head and pair of a token and one it sees, 2 * M of scores and 2 * A of
values.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sgjax.bench.kernels import attention
from sgjax.bench.kernels.op import Arrays, Call, Op, TunedKernel
from sgjax.kernels_pallas.latent_attention import cases, latent_attention, triton, triton_runs
from sgjax.kernels_pallas.latent_attention.cases import Case, make_inputs
from sgjax.kernels_pallas.ragged_paged_attention import triton_block

DTYPE = jnp.bfloat16
ITEM_BYTES = 2


def num_bytes(case: Case) -> int:
    tokens = sum(case.paged.num_tokens) * case.heads * (case.size + case.value_size)
    return ITEM_BYTES * (latent_numbers(case) + tokens)


def latent_numbers(case: Case) -> int:
    return sum(case.paged.lengths) * case.size


def num_operations(case: Case) -> int:
    of_pair = attention.num_operations(case.paged) // case.size
    return of_pair * (case.size + case.value_size) // 2


def row_bytes(case: Case) -> int:
    """Of a token's queries."""
    return case.heads * case.size * ITEM_BYTES


def _arrays(case: Case, seed: int) -> Arrays:
    inputs = make_inputs(case, seed, DTYPE)
    return inputs.q, inputs.latents, inputs.rows


def _call(case: Case, implementation: str | None, interpret: bool) -> Call:
    if interpret:
        return functools.partial(triton.latent_attention, interpret=True, **case.static)
    return functools.partial(latent_attention, implementation=implementation, **case.static)


def _spread(case: Case, arrays: Arrays, count: int) -> Arrays:
    """Queries for every call, so that none is the same as another, and caches in turn."""
    q, latents, rows = arrays
    num_own = max(latent_numbers(case) * ITEM_BYTES, 1)
    copies = min(count, 1 + attention.COLD_BYTES // num_own)
    queries = [q] + [q * (1 + i / count) for i in range(1, count)]
    return queries, [latents] + [latents + 0 for _ in range(copies - 1)], rows


def _chain(call: Call, count: int) -> Call:
    """The results of all calls."""
    call = jax.jit(call)  # traced once

    def program(queries, caches, rows):
        return [call(queries[i], caches[i % len(caches)], rows) for i in range(count)]

    return program


def _sizes(kernel: str) -> Callable[[Case, str | None], triton_runs.Sizes]:
    def sizes(case: Case, kind: str | None) -> triton_runs.Sizes:
        q = jax.ShapeDtypeStruct((1, case.heads, case.size), DTYPE)
        return triton_runs.sizes(kernel, q, kind)

    return sizes


def _tuned(kernel: Callable[..., Any]) -> Callable[[Case, triton_runs.Sizes, bool], Call]:
    def call(case: Case, sizes: triton_runs.Sizes, interpret: bool) -> Call:
        scale = case.static["scale"]
        options = triton_block.Options(case.page_size, scale, interpret=interpret)
        how = {"value_size": case.value_size, "options": options, "sizes": sizes}
        return functools.partial(kernel, **how)

    return call


OP = Op(
    name="latent_attention",
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
            takes=lambda case: case.only_decode and bool(case.decode),
            sizes=_sizes("decode"),
            call=_tuned(triton.decode),
        ),
        TunedKernel(
            name="extend",
            takes=lambda case: not case.decode and bool(case.extend),
            sizes=_sizes("extend"),
            call=_tuned(triton.extend),
        ),
    ),
)

"""Extend: many new tokens a row. The time goes into products, on tensor cores.

A program takes one query block (a run of new tokens of one row) and one kv head; tokens times
query heads are the rows of its products. New keys and values are in the cache already, so what was
cached before and what is new are one loop over the page table: first the blocks that the window
cuts, then the whole ones, without a mask, then those that causality cuts.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from sgjax.kernels_pallas.block_sizes import tuned_sizes
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.kernels_pallas.ragged_paged_attention import triton_block as tb
from sgjax.kernels_pallas.ragged_paged_attention.plan import query_blocks
from sgjax.kernels_pallas.tiles import next_power_of_two


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How the work is cut: rows of a product (tokens times query heads), cached tokens a block."""

    rows: int = 64
    block: int = 32
    warps: int = 4
    stages: int = 2


def sizes(row_bytes: int, dtype, kind: str | None) -> Sizes:
    """Tuned ones where the device has them, else small ones that fit most devices.

    Float32 products run on plain cores, unrolled: small blocks, whatever the device.
    """
    if dtype == jnp.float32:
        return Sizes(rows=16, block=16)
    return Sizes(**tuned_sizes("ragged_paged_attention", "extend", row_bytes, kind))


def extend(
    q: Float[Array, "T K G H"],
    k: Float[Array, "slots K H"],
    v: Float[Array, "slots K H"],
    rows: RaggedRows,
    *,
    options: tb.Options,
    sizes: Sizes,
) -> Float[Array, "T K G H"]:
    """The tokens of the rows after the first num_decode; all others are zero."""
    T, K, G, _ = q.shape
    M = max(1, sizes.rows // G)
    blocks = query_blocks(rows, T, M)
    inputs = (q, k, v, rows.tables, blocks.row, blocks.token, blocks.position, blocks.count)
    return pl.pallas_call(
        functools.partial(_kernel, M=M, sizes=sizes, options=options),
        grid=(K, blocks.row.shape[0]),
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        input_output_aliases={len(inputs): 0},
        interpret=options.interpret,
        compiler_params=plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages),
        name="ragged_paged_attention_extend",
    )(*inputs, jnp.zeros_like(q))


def _kernel(
    q_ref,
    k_ref,
    v_ref,
    tables_ref,
    row_ref,
    token_ref,
    position_ref,
    count_ref,
    _,
    out_ref,
    **static,
):
    # q, out: [T, K, G, H]   k, v: [slots, K, H]   tables: i32[S, C]   row, token, ...: i32[Q]
    head = pl.program_id(0)
    block = pl.num_programs(1) - 1 - pl.program_id(1)  # a row's later blocks take longer: first
    row, token, position = row_ref[block], token_ref[block], position_ref[block]
    count = count_ref[block]
    refs = q_ref, k_ref, v_ref, tables_ref, out_ref

    @pl.when(count > 0)
    def _():
        _query_block(refs, head, row, token, position, count, **static)


def _query_block(refs, head, row, token, position, count, *, M, sizes, options):
    q_ref, k_ref, v_ref, tables_ref, out_ref = refs
    G, H = q_ref.shape[2:]
    N = sizes.block
    end = position + count
    lo = options.first_seen(position)
    r = jnp.arange(max(16, next_power_of_two(M * G)))
    t, g = lax.div(r, G), lax.rem(r, G)[:, None]
    h = jnp.arange(next_power_of_two(H))[None, :]
    own = (t < count)[:, None] & (h < H)
    at_q = (token + jnp.minimum(t, count - 1))[:, None]
    q = tb.load_tile(q_ref, at_q, head, g)
    cache = tb.Cache(k_ref, v_ref, tables_ref, row, head, lo, end - 1, options.page_size)

    def whole(j, state):
        return tb.take_in(state, q, cache, j * N + jnp.arange(N), None, options)

    def cut(j, state):
        at = j * N + jnp.arange(N)
        seen = at[None, :] <= (position + t)[:, None]
        if options.window is not None:
            seen &= at[None, :] > (position + t - options.window)[:, None]
        return tb.take_in(state, q, cache, at, seen, options)

    # Blocks [first, a) are cut by the window, [a, b) whole for all tokens, [b, last) cut by
    # causality. In a window shorter than the run no block is whole, and a == b.
    first, last = lax.div(lo, N), pl.cdiv(end, N)
    a = first
    if options.window is not None:
        a = jnp.minimum(pl.cdiv(options.first_seen(end - 1), N), last)
    b = jnp.maximum(lax.div(position + 1, N), a)
    state = tb.start(r.size, H)
    if options.window is not None:
        state = lax.fori_loop(first, a, cut, state)
    state = lax.fori_loop(a, b, whole, state)
    _, total, out = lax.fori_loop(b, last, cut, state)
    out = (out / jnp.where(total > 0, total, 1.0)[:, None]).astype(out_ref.dtype)
    plgpu.store(out_ref.at[(token + t)[:, None], head, g, h], out, mask=own)

"""Extend: many new tokens a row. The time goes into products, on tensor cores.

A program takes one query block (a run of new tokens of one row) and one kv head; tokens times
query heads are the rows of its products. New keys and values are in the cache already, so what was
cached before and what is new are one loop over the page table: first the blocks that a window or a
chunk cuts, then the whole ones, without a mask, then those that causality cuts.

A step of few tokens has few query blocks, and a long prefix would keep these few programs at work
for long. So there a query block's loop is split over several programs, as in decode, and a second
kernel combines what they leave.
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

MAX_SPLITS = 16
_LEAST_BLOCKS = 8
"""Of a split: a loop of fewer is not worth another program."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How the work is cut: rows of a product (tokens times query heads), cached tokens a block;
    programs that a device wants at least."""

    rows: int = 64
    block: int = 32
    warps: int = 4
    stages: int = 2
    programs: int = 1


def sizes(row_bytes: int, dtype, kind: str | None) -> Sizes:
    """Tuned ones where the device has them, else small ones that fit most devices.

    Float32 products run on plain cores, unrolled: small blocks, whatever the device.
    """
    if dtype == jnp.float32:
        return Sizes(rows=16, block=16)
    return Sizes(**tuned_sizes("ragged_paged_attention", "extend", row_bytes, kind))


def num_splits(T: int, K: int, M: int, programs: int) -> int:
    """A power of two, so that query blocks times heads times splits come to about `programs`."""
    wanted = min(programs // (K * pl.cdiv(T, M)), MAX_SPLITS)
    return 1 << max(0, wanted.bit_length() - 1)


def extend(
    q: Float[Array, "T K G H"],
    k: Float[Array, "slots K H"],
    v: Float[Array, "slots K H"],
    rows: RaggedRows,
    *,
    options: tb.Options,
    sizes: Sizes,
    sinks: Float[Array, "K G"] | None = None,
) -> Float[Array, "T K G H"]:
    """The tokens of the rows after the first num_decode; zero for those of no row. Those of the
    first num_decode are left as they lie in memory."""
    T, K, G, _ = q.shape
    M = max(1, sizes.rows // G)
    blocks = query_blocks(rows, T, M)
    splits = num_splits(T, K, M, sizes.programs)
    runs = blocks.token, blocks.count
    inputs = (q, k, v, rows.tables, rows.lengths, blocks.row, blocks.position, *runs, sinks)
    compiled = plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages)
    call = functools.partial(
        pl.pallas_call,
        functools.partial(_kernel, splits=splits, M=M, sizes=sizes, options=options),
        grid=(K, blocks.row.shape[0], splits),
        interpret=options.interpret,
        compiler_params=compiled,
        name="ragged_paged_attention_extend",
    )
    if splits > 1:
        parts = call(
            out_shape=(
                jax.ShapeDtypeStruct((splits, *q.shape), jnp.float32),
                jax.ShapeDtypeStruct((splits, T, K, G), jnp.float32),
            )
        )(*inputs)
        inputs = (*parts, *runs)
        call = functools.partial(
            pl.pallas_call,
            functools.partial(_combine, M=M),
            grid=(K, blocks.row.shape[0]),
            interpret=options.interpret,
            compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=1),
            name="ragged_paged_attention_combine_extend",
        )
    return call(out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype))(*inputs)


class _Run:
    """The rows of a query block's products: tokens times query heads."""

    def __init__(self, token, count, M: int, G: int, H: int):
        r = jnp.arange(max(16, next_power_of_two(M * G)))
        self.size = r.size
        self.t = lax.div(r, G)
        """Which of the block's tokens."""
        self.token = token + self.t
        self.g = lax.rem(r, G)
        self.here = self.t < count
        self.h = jnp.arange(next_power_of_two(H))[None, :]
        self.own = self.here[:, None] & (self.h < H)

    def at(self, head):
        """Indices of [T, K, G, H]."""
        return self.token[:, None], head, self.g[:, None], self.h


def _zero_padding(out_ref, token, head, M: int):
    """What a query block leaves that is of no row, and lies over tokens that are of none."""
    T, _, G, H = out_ref.shape
    run = _Run(token, jnp.minimum(T - token, M), M, G, H)
    zeros = jnp.zeros((run.size, run.h.shape[1]), out_ref.dtype)
    plgpu.store(out_ref.at[run.at(head)], zeros, mask=run.own)


def _kernel(
    q_ref,
    k_ref,
    v_ref,
    tables_ref,
    lengths_ref,
    row_ref,
    position_ref,
    token_ref,
    count_ref,
    sinks_ref,
    *refs,
    splits,
    M,
    sizes,
    options,
):
    # q: [T, K, G, H]   k, v: [slots, K, H]   tables: i32[S, C]   lengths: i32[S]
    # row, position, token, count: i32[Q]   sinks: [K, G], or None
    # refs, one split: out [T, K, G, H]
    # refs, several:   out f32[splits, T, K, G, H], lse f32[splits, T, K, G]
    head, split = pl.program_id(0), pl.program_id(2)
    block = pl.num_programs(1) - 1 - pl.program_id(1)  # a row's later blocks take longer: first
    row, position, count = row_ref[block], position_ref[block], count_ref[block]
    end = position + count
    if not options.view.is_causal:
        end = options.view.end(end, lengths_ref[row])
    cache = tb.Cache(
        k_ref,
        v_ref,
        tables_ref,
        row,
        head,
        options.view.first(position),
        end - 1,
        options.page_size,
    )

    @pl.when(count > 0)
    def _():
        run = _Run(token_ref[block], count, M, *q_ref.shape[2:])
        at_q = token_ref[block] + jnp.minimum(run.t, count - 1)
        q = tb.load_tile(q_ref, at_q[:, None], head, run.g[:, None])
        part = None if splits == 1 else (split, splits)
        state = tb.start(run.size, q.shape[1])
        state = tb.with_sink(state, sinks_ref, head, run.g, split == 0, options)
        how = {"run": run, "part": part, "sizes": sizes, "options": options}
        top, total, out = _attend(state, q, cache, position, count, **how)
        out = out / jnp.where(total > 0, total, 1.0)[:, None]
        if part is None:
            (out_ref,) = refs
            plgpu.store(out_ref.at[run.at(head)], out.astype(out_ref.dtype), mask=run.own)
            return
        out_ref, lse_ref = refs
        lse = top * options.exponent + jnp.log2(jnp.where(total > 0, total, 1.0))
        plgpu.store(lse_ref.at[split, run.token, head, run.g], lse, mask=run.here)
        wrote = (total > 0)[:, None]
        plgpu.store(out_ref.at[(split, *run.at(head))], out, mask=run.own & wrote)

    if splits == 1:
        pl.when(count == 0)(lambda: _zero_padding(refs[0], token_ref[block], head, M))


def _attend(state, q, cache, position, count, *, run, part, sizes, options):
    """The state of a query block after its blocks of cached tokens too, or a part of them: (split,
    splits)."""
    N = sizes.block

    def whole(j, state):
        return tb.take_in(state, q, cache, j * N + jnp.arange(N), None, options)

    def cut(j, state):
        at = j * N + jnp.arange(N)
        seen = options.view.sees(at, position + run.t, cache.last)
        return tb.take_in(state, q, cache, at, seen, options)

    # Blocks [first, a) are cut where views begin, [a, b) whole for all tokens, [b, last) cut where
    # views end. In a window shorter than the run, or in two chunks, no block is whole, and a == b.
    first, last, a, b = _blocks(cache, position, count, N, options.view)
    if part is not None:
        split, splits = part
        each = jnp.maximum(pl.cdiv(last - first, splits), _LEAST_BLOCKS)
        start = first + split * each
        first, a, b, last = (jnp.clip(x, start, start + each) for x in (first, a, b, last))
    if options.view.leaves_out:
        state = lax.fori_loop(first, a, cut, state)
    state = lax.fori_loop(a, b, whole, state)
    return lax.fori_loop(b, last, cut, state)


def _blocks(cache, position, count, N: int, view):
    """Where the blocks of cached tokens that a query block sees begin and end; of these, where
    those begin and end that all its tokens see whole."""
    first, end = lax.div(cache.first, N), cache.last + 1
    a, last = first, pl.cdiv(end, N)
    if view.leaves_out:
        a = pl.cdiv(view.first(position + count - 1), N)
    b = lax.div(view.end(position + 1, end), N)
    a = jnp.minimum(a, last)
    return first, last, a, jnp.maximum(b, a)


def _combine(part_ref, lse_ref, token_ref, count_ref, out_ref, *, M):
    # part: f32[splits, T, K, G, H]   lse: f32[splits, T, K, G]   token, count: i32[Q]
    # out: [T, K, G, H]
    head, block = pl.program_id(0), pl.program_id(1)
    count = count_ref[block]
    pl.when(count == 0)(lambda: _zero_padding(out_ref, token_ref[block], head, M))

    @pl.when(count > 0)
    def _():
        run = _Run(token_ref[block], count, M, *out_ref.shape[2:])

        def take_in(split, state):
            top, total, out = state
            at = lse_ref.at[split, run.token, head, run.g]
            lse = plgpu.load(at, mask=run.here, other=tb.NEVER)
            # A split that saw nothing has left no result.
            wrote = run.own & (lse > tb.NEVER * 2.0**-20)[:, None]
            part = plgpu.load(part_ref.at[(split, *run.at(head))], mask=wrote, other=0)
            new_top = jnp.maximum(top, lse)
            shrink, weight = jnp.exp2(top - new_top), jnp.exp2(lse - new_top)
            out = out * shrink[:, None] + part * weight[:, None]
            return new_top, total * shrink + weight, out

        state = tb.start(run.size, out_ref.shape[3])
        _, total, out = lax.fori_loop(0, part_ref.shape[0], take_in, state)
        out = (out / jnp.where(total > 0, total, 1.0)[:, None]).astype(out_ref.dtype)
        plgpu.store(out_ref.at[run.at(head)], out, mask=run.own)

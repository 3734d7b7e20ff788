"""Decode: one new token a row. The time goes into reading the cache, each byte once.

A program takes one row, one kv head and one split of the row's blocks; the query heads of the kv
head are the rows of its products. With one split a program writes the result; with several it
writes a partial result, and the splits are combined by their log-sum-exps. Of rows that share a
prefix it reads the rest, and the first split goes on from what `triton_shared` left for them.
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
from sgjax.kernels_pallas.ragged_paged_attention import triton_shared as ts
from sgjax.kernels_pallas.tiles import next_power_of_two

MAX_SPLITS = 64


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How the work is cut: tokens a block, warps of a program, programs wanted in all."""

    block: int = 64
    warps: int = 4
    split_warps: int = 4
    stages: int = 2
    programs: int = 256


def sizes(row_bytes: int, dtype, kind: str | None) -> Sizes:
    """Tuned ones where the device has them, else such that the stages fit any device's memory.

    Float32 products run on plain cores, unrolled: small blocks, whatever the device.
    """
    if dtype == jnp.float32:
        return Sizes(block=16)
    block = max(16, min(64, 64 * 256 // row_bytes))
    tuned = tuned_sizes("ragged_paged_attention", "decode", row_bytes, kind)
    return Sizes(**{"block": block, **tuned})


def num_splits(S: int, K: int, num_blocks: int, programs: int) -> int:
    """A power of two, so that rows times heads times splits come to about `programs`."""
    wanted = min(programs // (S * K), num_blocks, MAX_SPLITS)
    return 1 << max(0, wanted.bit_length() - 1)


def decode(
    q: Float[Array, "T K G H"],
    k: Float[Array, "slots K H"],
    v: Float[Array, "slots K H"],
    rows: RaggedRows,
    *,
    options: tb.Options,
    sizes: Sizes,
    sinks: Float[Array, "K G"] | None = None,
    prefixes: ts.Prefixes | None = None,
    over: Float[Array, "T K G H"] | None = None,
) -> Float[Array, "T K G H"]:
    """The tokens of the first num_decode rows; the others are zero, or what they are in `over`.

    `prefixes` are what `triton_shared.attend` gave for these rows, if it was called.
    """
    T, K, G, H = q.shape
    S, C = rows.tables.shape
    n = min(S, T)
    splits = num_splits(n, K, pl.cdiv(C * options.page_size, sizes.block), sizes.programs)
    num_decode = rows.num_decode[None]
    inputs = (q, k, v, rows.tables, rows.lengths, num_decode, prefixes, sinks)
    call = functools.partial(
        pl.pallas_call,
        functools.partial(_kernel, splits=splits, sizes=sizes, options=options),
        grid=(n, K, splits),
        interpret=options.interpret,
        compiler_params=plgpu.CompilerParams(
            num_warps=sizes.warps if splits == 1 else sizes.split_warps, num_stages=sizes.stages
        ),
        name="ragged_paged_attention_decode",
    )
    if splits > 1:
        inputs = call(
            out_shape=(
                jax.ShapeDtypeStruct((splits, n, K, G, H), jnp.float32),
                jax.ShapeDtypeStruct((splits, n, K, G), jnp.float32),
            )
        )(*inputs)
        inputs = (*inputs, num_decode)
        call = functools.partial(
            pl.pallas_call,
            _combine,
            grid=(n, K, G),
            interpret=options.interpret,
            compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=1),
            name="ragged_paged_attention_combine",
        )
    result = jax.ShapeDtypeStruct(q.shape, q.dtype)
    if over is None:
        return call(out_shape=result)(*inputs)
    aliases = {len(jax.tree.leaves(inputs)): 0}
    return call(out_shape=result, input_output_aliases=aliases)(*inputs, over)


def _kernel(
    q_ref,
    k_ref,
    v_ref,
    tables_ref,
    lengths_ref,
    num_decode_ref,
    prefixes,
    sinks_ref,
    *refs,
    splits,
    sizes,
    options,
):
    # q: [T, K, G, H]   k, v: [slots, K, H]   tables: i32[S, C]   lengths: i32[S]
    # num_decode: i32[1]   prefixes: None, or with refs for arrays   sinks: [K, G], or None
    # refs, one split: (result to write over,) out [T, K, G, H]
    # refs, several:   out f32[splits, S, K, G, H], lse f32[splits, S, K, G]
    row, head, split = pl.program_id(0), pl.program_id(1), pl.program_id(2)
    G, H = q_ref.shape[2:]
    live = row < num_decode_ref[0]
    length = jnp.where(live, lengths_ref[row], 0)
    lo = options.view.first(length - 1) if prefixes is None else prefixes.finds.length[row]
    first_block = lo // sizes.block
    num_blocks = pl.cdiv(length, sizes.block) - first_block
    per_split = pl.cdiv(num_blocks, splits)
    first = first_block + split * per_split
    last = jnp.minimum(first + per_split, first_block + num_blocks)

    # Tensor cores want 16 rows.
    g = jnp.arange(max(16, next_power_of_two(G)))
    h = jnp.arange(next_power_of_two(H))[None, :]
    own = (g < G)[:, None] & (h < H)
    q = plgpu.load(q_ref.at[row, head, g[:, None], h], mask=own, other=0)
    cache = tb.Cache(
        k_ref, v_ref, tables_ref, row, head, lo, jnp.maximum(length - 1, 0), options.page_size
    )

    def block(i, state):
        at = i * sizes.block + jnp.arange(sizes.block)
        seen = ((at >= lo) & (at < length))[None, :]
        return tb.take_in(state, q, cache, at, seen, options)

    state = tb.start(g.size, H)
    if prefixes is not None:
        state = ts.state_of(prefixes, row, head, g, num_heads=G, wanted=split == 0, options=options)
    state = tb.with_sink(state, sinks_ref, head, g, live & (split == 0), options)
    top, total, out = lax.fori_loop(first, last, block, state)
    out = out / jnp.where(total > 0, total, 1.0)[:, None]
    if splits > 1:
        out_ref, lse_ref = refs
        lse = top * options.exponent + jnp.log2(jnp.where(total > 0, total, 1.0))
        plgpu.store(lse_ref.at[split, row, head, g], lse, mask=g < G)
        plgpu.store(out_ref.at[split, row, head, g[:, None], h], out, mask=own & (first < last))
    else:
        _write(refs, (row, head, g[:, None], h), out, own, live)


def _combine(out_ref, lse_ref, num_decode_ref, *refs):
    # out: f32[splits, S, K, G, H]   lse: f32[splits, S, K, G]   refs: as the kernel's for one split
    row, head, g = pl.program_id(0), pl.program_id(1), pl.program_id(2)
    H = out_ref.shape[-1]
    split = jnp.arange(out_ref.shape[0])
    h = jnp.arange(next_power_of_two(H))
    lse = plgpu.load(lse_ref.at[split, row, head, g])
    weight = jnp.exp2(lse - lse.max(0))
    # A split without blocks has written no result.
    wrote = (lse > tb.NEVER * 2.0**-20)[:, None] & (h < H)[None, :]
    out = plgpu.load(out_ref.at[split[:, None], row, head, g, h[None, :]], mask=wrote, other=0)
    out = (out * weight[:, None]).sum(0) / weight.sum(0)
    _write(refs, (row, head, g, h), out, h < H, row < num_decode_ref[0])


def _write(refs, at, out, own, live):
    """Stores a result. Of two refs the first is written over: there, rows not live stay."""
    mask = own & live if len(refs) == 2 else own
    plgpu.store(refs[-1].at[at], out.astype(refs[-1].dtype), mask=mask)

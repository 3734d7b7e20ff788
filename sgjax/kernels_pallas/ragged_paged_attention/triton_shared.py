"""Prefixes that decode rows share: their keys and values are read once for a block of rows.

A program takes one unit (some tokens of a prefix, for some rows that share it) and one kv head;
rows times query heads are the rows of its products. What it leaves is the state of a softmax that
is not done: the decode kernel goes on from there with the tokens that each row has for itself.
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
from sgjax.kernels_pallas.ragged_paged_attention.shared_plan import Finds, Units, shared_units
from sgjax.kernels_pallas.tiles import next_power_of_two

SMALL_GROUP = 4
"""Units are provided for groups of this many rows throughout: smaller ones may find no room."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How the work is cut: rows of a product (rows of the step times query heads), cached tokens a
    block, warps of a program, programs wanted in all."""

    rows: int = 64
    block: int = 32
    warps: int = 4
    stages: int = 2
    programs: int = 256


def sizes(row_bytes: int, dtype, kind: str | None) -> Sizes:
    """Tuned ones where the device has them, else small ones that fit most devices.

    Float32 products run on plain cores, unrolled: small blocks, whatever the device.
    """
    if dtype == jnp.float32:
        return Sizes(rows=16, block=16)
    return Sizes(**tuned_sizes("ragged_paged_attention", "shared", row_bytes, kind))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefixes:
    """What the rows' softmaxes have come to after the shared tokens: states as of `tb.start`."""

    top: Float[Array, "U K RG"]
    total: Float[Array, "U K RG"]
    out: Float[Array, "U K RG H"]
    finds: Finds


def attend(
    q: Float[Array, "T K G H"],
    k: Float[Array, "slots K H"],
    v: Float[Array, "slots K H"],
    rows: RaggedRows,
    *,
    options: tb.Options,
    sizes: Sizes,
) -> Prefixes:
    """The states of all decode rows after what they share."""
    _, K, G, H = q.shape
    S = rows.lengths.shape[0]
    R = max(1, sizes.rows // G)
    wanted = max(1, sizes.programs // K)
    U = max(wanted, pl.cdiv(S, R) + S // SMALL_GROUP)
    units, finds = shared_units(rows, R, block=sizes.block, num_units=U, wanted=wanted)
    top, total, out = pl.pallas_call(
        functools.partial(_kernel, R=R, sizes=sizes, options=options),
        grid=(K, U),
        out_shape=(
            jax.ShapeDtypeStruct((U, K, R * G), jnp.float32),
            jax.ShapeDtypeStruct((U, K, R * G), jnp.float32),
            jax.ShapeDtypeStruct((U, K, R * G, H), jnp.float32),
        ),
        interpret=options.interpret,
        compiler_params=plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages),
        name="ragged_paged_attention_shared",
    )(q, k, v, rows.tables, units)
    return Prefixes(top, total, out, finds)


def _kernel(q_ref, k_ref, v_ref, tables_ref, units, *out_refs, **static):
    # q: [T, K, G, H]   k, v: [slots, K, H]   tables: i32[S, C]   units: with refs for arrays
    # out_refs: top, total f32[U, K, R * G], out f32[U, K, R * G, H]
    head, unit = pl.program_id(0), pl.program_id(1)
    refs = q_ref, k_ref, v_ref, tables_ref, out_refs

    @pl.when(units.count[unit] > 0)
    def _():
        _unit(refs, units, head, unit, **static)


def _unit(refs, units: Units, head, unit, *, R, sizes, options):
    q_ref, k_ref, v_ref, tables_ref, (top_ref, total_ref, out_ref) = refs
    row, count = units.row[unit], units.count[unit]
    first, end = units.first[unit], units.end[unit]
    G, H = q_ref.shape[2:]
    N = sizes.block
    r = jnp.arange(max(16, next_power_of_two(R * G)))
    s, g = lax.div(r, G), lax.rem(r, G)[:, None]
    h = jnp.arange(next_power_of_two(H))[None, :]
    q = tb.load_tile(q_ref, (row + jnp.minimum(s, count - 1))[:, None], head, g)
    cache = tb.Cache(k_ref, v_ref, tables_ref, row, head, first, end - 1, options.page_size)

    def whole(j, state):
        return tb.take_in(state, q, cache, j * N + jnp.arange(N), None, options)

    def cut(j, state):
        at = j * N + jnp.arange(N)
        return tb.take_in(state, q, cache, at, (at < end)[None, :], options)

    # Only the end of a prefix cuts a block.
    state = lax.fori_loop(lax.div(first, N), lax.div(end, N), whole, tb.start(r.size, H))
    top, total, out = lax.fori_loop(lax.div(end, N), pl.cdiv(end, N), cut, state)
    own = s < count
    plgpu.store(top_ref.at[unit, head, r], top, mask=own)
    plgpu.store(total_ref.at[unit, head, r], total, mask=own)
    plgpu.store(out_ref.at[unit, head, r[:, None], h], out, mask=own[:, None] & (h < H))


def state_of(prefixes, row, head, g, *, num_heads: int, wanted, options: tb.Options):
    """In a kernel that was given Prefixes: the state of one decode row, or of one that has seen
    nothing where it is not wanted. Of the rows `g` of its tile num_heads are query heads."""
    H = prefixes.out.shape[-1]
    finds = prefixes.finds
    first, r = finds.unit[row], finds.place[row] * num_heads + g
    h = jnp.arange(next_power_of_two(H))[None, :]
    own = g < num_heads

    def unit(i, state):
        at = first + i, head, r
        top = plgpu.load(prefixes.top.at[at], mask=own, other=tb.NEVER)
        total = plgpu.load(prefixes.total.at[at], mask=own, other=0)
        at = first + i, head, r[:, None], h
        out = plgpu.load(prefixes.out.at[at], mask=own[:, None] & (h < H), other=0)
        return tb.merge(state, (top, total, out), options)

    count = jnp.where(wanted, finds.count[row], 0)
    return lax.fori_loop(0, count, unit, tb.start(g.size, H))

"""Ragged paged attention in plain JAX: the measure of the kernels, and what serves on a CPU.

The loops run to the longest row of the step, not to the end of the tables, and hold one block of
keys and values at a time. Rows of one token go side by side; longer rows go one tile of tokens
after the other, so that a tile's keys are gathered once for all its tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32

from sgjax.kernels_pallas.ragged_paged_attention.plan import query_blocks
from sgjax.kernels_pallas.ragged_paged_attention.view import View

NEVER = -1e30
TILE = 64
"""Tokens of a long row that are computed together."""
BLOCK = 128
"""Cached tokens that are read together."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tiles:
    """W pieces of rows, at most M new tokens each: token t of a tile has position first + t."""

    q: Float[Array, "W M K G H"]
    tables: Int32[Array, "W C"]
    first: Int32[Array, "W"]
    count: Int32[Array, "W"]
    length: Int32[Array, "W"]
    """Of the row's cache."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What is the same for all rows of the call."""

    page_size: int
    scale: float
    soft_cap: float | None
    view: View


def attend(
    tiles: Tiles, k: Array, v: Array | None, sinks: Array | None, options: Options
) -> Float[Array, "W M K G H"]:
    """Attention of every tile to its row's cache; float32, zero past a tile's count.

    Without `v`, keys are the values, too: given twice, a loop would copy them. K and H may be one
    axis of them: parted before the loop, they would be copied again.
    """
    W, M, K, G, H = tiles.q.shape
    # Positions [start, end) are seen by some token of the tile.
    end = options.view.end(tiles.first + tiles.count, tiles.length)
    start = jnp.broadcast_to(options.view.first(tiles.first), end.shape)
    q = (tiles.q.astype(jnp.float32) * options.scale).transpose(0, 2, 3, 1, 4)
    q = q.reshape(W, K, G * M, H)
    position = jnp.tile(tiles.first[:, None] + jnp.arange(M)[None], (1, G))

    def block(i, carry):
        top, total, out = carry
        at = i * BLOCK + jnp.arange(BLOCK)[None]
        # Positions outside [start, end) are masked: they read a slot of the row all the same,
        # since another request's slot may hold NaN, and 0 * NaN is NaN.
        first, last = start[:, None], end - 1
        inside = jnp.clip(at, first, jnp.maximum(last, 0)[:, None])
        page = jnp.take_along_axis(tiles.tables, inside // options.page_size, axis=1)
        slots = page * options.page_size + inside % options.page_size
        keys = k[slots].astype(jnp.float32).reshape(W, BLOCK, K, H)
        values = keys if v is None else v[slots].astype(jnp.float32)
        scores = jnp.einsum("WKMH,WBKH->WKMB", q, keys, precision="highest")
        if options.soft_cap is not None:
            scores = options.soft_cap * jnp.tanh(scores / options.soft_cap)
        seen = options.view.sees(at, position, last)
        scores = jnp.where(seen[:, None], scores, NEVER)
        new_top = jnp.maximum(top, scores.max(-1))
        p = jnp.exp(scores - new_top[..., None])
        shrink = jnp.exp(top - new_top)
        out = out * shrink[..., None] + jnp.einsum(
            "WKMB,WBKH->WKMH", p, values, precision="highest"
        )
        return new_top, total * shrink + p.sum(-1), out

    live = tiles.count > 0
    lo = jnp.min(jnp.where(live, start // BLOCK, tiles.tables.shape[1] * options.page_size))
    hi = jnp.max(jnp.where(live, (end + BLOCK - 1) // BLOCK, 0))
    init = (q[..., 0] * 0 + NEVER, q[..., 0] * 0, q * 0)
    if sinks is not None:
        top = jnp.repeat(sinks.astype(jnp.float32), M, axis=1)[None]
        init = (q[..., 0] * 0 + top, q[..., 0] * 0 + 1, q * 0)
    _, total, out = lax.fori_loop(lo, hi, block, init)
    out = (
        (out / jnp.where(total > 0, total, 1.0)[..., None])
        .reshape(W, K, G, M, H)
        .transpose(0, 3, 1, 2, 4)
    )
    own = jnp.arange(M)[None] < tiles.count[:, None]
    return jnp.where(own[..., None, None, None], out, 0)


def decode(
    q: Array, k: Array, v: Array | None, rows, sinks: Array | None, options: Options
) -> Float[Array, "T K G H"]:
    """The tokens of the first num_decode rows, all rows side by side; the others are zero."""
    n = min(q.shape[0], rows.lengths.shape[0])
    tiles = Tiles(
        q=q[:n, None],
        tables=_tables(rows, options)[:n],
        first=rows.lengths[:n] - 1,
        count=(jnp.arange(n) < rows.num_decode).astype(jnp.int32),
        length=rows.lengths[:n],
    )
    out = attend(tiles, k, v, sinks, options)[:, 0].astype(q.dtype)
    return jnp.pad(out, ((0, q.shape[0] - n), (0, 0), (0, 0), (0, 0)))


def _tables(rows, options: Options) -> Int32[Array, "S C"]:
    """The page tables; shared pages as the first row of each group has them."""
    if rows.shared is None or options.view.leaves_out:
        return rows.tables
    column = jnp.arange(rows.tables.shape[1])[None]
    is_shared = column < rows.shared.lengths[:, None] // options.page_size
    return jnp.where(is_shared, rows.tables[rows.shared.first], rows.tables)


def extend(
    out: Array, q: Array, k: Array, v: Array | None, rows, *, sinks: Array | None, options: Options
) -> Array:
    """Puts the tokens of the rows after the decode rows into `out`, one tile after the other."""
    T, M = q.shape[0], min(TILE, q.shape[0])
    blocks = query_blocks(rows, T, M)
    padding = ((0, M), (0, 0), (0, 0), (0, 0))  # a tile may reach past the last token
    q = jnp.pad(q, padding)

    def tile(i, out):
        row, token, count = blocks.row[i], blocks.token[i], blocks.count[i]
        tiles = Tiles(
            q=lax.dynamic_slice_in_dim(q, token, M)[None],
            tables=rows.tables[row][None],
            first=blocks.position[i][None],
            count=count[None],
            length=rows.lengths[row][None],
        )
        new = attend(tiles, k, v, sinks, options)[0].astype(out.dtype)
        old = lax.dynamic_slice_in_dim(out, token, M)
        own = (jnp.arange(M) < count)[:, None, None, None]
        return lax.dynamic_update_slice_in_dim(out, jnp.where(own, new, old), token, 0)

    num_blocks = jnp.sum(blocks.count > 0)
    return lax.fori_loop(0, num_blocks, tile, jnp.pad(out, padding))[:T]


def ragged_paged_attention(
    q,
    k,
    v,
    rows,
    *,
    page_size,
    scale,
    only_decode,
    window=None,
    chunk=None,
    soft_cap=None,
    is_causal=True,
    sinks=None,
):
    """The contract in plain JAX. Accumulates in float32 whatever the inputs are; v may be None."""
    options = Options(page_size, scale, soft_cap, View(window, chunk, is_causal))
    out = decode(q, k, v, rows, sinks, options)
    return out if only_decode else extend(out, q, k, v, rows, sinks=sinks, options=options)

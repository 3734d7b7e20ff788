"""Cuts the prefixes that rows share into units: some tokens, read once for a block of rows."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

MAX_SPLITS = 64
"""Units that a block of rows is cut into, at most."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Units:
    """Tokens [first, end) of what the `count` rows from `row` on share; count 0: nothing to do."""

    row: Int32[Array, "U"]
    count: Int32[Array, "U"]
    first: Int32[Array, "U"]
    end: Int32[Array, "U"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Finds:
    """Where each row finds what was computed for it: in `count` units from `unit` on, as their row
    number `place`. They hold its first `length` tokens; 0, and no unit, where nothing was."""

    unit: Int32[Array, "S"]
    count: Int32[Array, "S"]
    place: Int32[Array, "S"]
    length: Int32[Array, "S"]


def shared_units(
    rows, size: int, *, block: int, num_units: int, wanted: int
) -> tuple[Units, Finds]:
    """The units of the shared prefixes of `rows`, for blocks of at most `size` rows of one group.

    Prefixes are cut at multiples of `block` tokens, as finely as makes about `wanted` units, so
    that there is work for all of the device. Of blocks of rows that have no room among `num_units`
    nothing is computed: their rows find nothing.
    """
    S = rows.lengths.shape[0]
    row = jnp.arange(S)
    shared = jnp.where(row < rows.num_decode, rows.shared.lengths, 0)
    place = (row - rows.shared.first) % size
    head = row - place  # the first row of the row's block
    length = jnp.where(place == 0, shared, 0)  # of blocks, kept by their first rows
    tokens = _tokens_per_unit(length, block, wanted)
    splits = (length + tokens - 1) // tokens
    ends = jnp.cumsum(splits)

    unit = jnp.arange(num_units)
    of = jnp.minimum(jnp.sum(ends[None, :] <= unit[:, None], axis=1), S - 1)
    first = (unit - ends[of] + splits[of]) * tokens
    count = jnp.sum((head[None, :] == of[:, None]) & (shared > 0)[None, :], axis=1)
    units = Units(
        row=of.astype(jnp.int32),
        count=jnp.where(unit < ends[-1], count, 0).astype(jnp.int32),
        first=first.astype(jnp.int32),
        end=jnp.minimum(first + tokens, length[of]).astype(jnp.int32),
    )
    found = (shared > 0) & (ends[head] <= num_units)
    finds = Finds(
        unit=(ends[head] - splits[head]).astype(jnp.int32),
        count=jnp.where(found, splits[head], 0).astype(jnp.int32),
        place=place.astype(jnp.int32),
        length=jnp.where(found, shared, 0).astype(jnp.int32),
    )
    return units, finds


def _tokens_per_unit(length: Int32[Array, "S"], block: int, wanted: int) -> Int32[Array, ""]:
    """The longest prefix cut into as many equal parts as give at most `wanted` units in all."""
    parts = jnp.arange(1, MAX_SPLITS + 1)
    tokens = -(-jnp.maximum(length.max(), 1) // parts)
    tokens = (tokens + block - 1) // block * block
    units = jnp.sum((length[None, :] + tokens[:, None] - 1) // tokens[:, None], axis=1)
    return jnp.min(jnp.where(units <= wanted, tokens, tokens[0]))

"""Cuts the rows of a step into query blocks: runs of new tokens of one row, computed together."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QueryBlocks:
    """Query blocks in the order of the rows; the ones past the last row's have count 0."""

    row: Int32[Array, "Q"]
    token: Int32[Array, "Q"]
    """The block's first token in the step."""
    position: Int32[Array, "Q"]
    """That token's position in its row's cache; below zero where it is another row's."""
    count: Int32[Array, "Q"]
    """How many tokens the block has."""
    lead: Int32[Array, "Q"]
    """How many of these, the first ones, are no new tokens of the row."""


def query_blocks(rows, num_tokens: int, size: int, align: int = 1) -> QueryBlocks:
    """The query blocks of at most `size` tokens of the rows after the decode rows.

    Blocks begin at multiples of `align`, which divides `size`. `num_tokens` is the step's T: the
    number of blocks is static, so it is the most that T tokens in as many rows can need.
    """
    S = rows.num_tokens.shape[0]
    new = jnp.where(jnp.arange(S) < rows.num_decode, 0, rows.num_tokens)
    lead = jnp.where(new > 0, rows.starts % align, 0)
    span = lead + new
    ends = jnp.cumsum((span + size - 1) // size)
    most = (num_tokens + S * (align - 1)) // size + S
    block = jnp.arange(min(num_tokens, most))
    row = jnp.minimum(jnp.sum(ends[None, :] <= block[:, None], axis=1), S - 1)
    skipped = (block - ends[row]) * size + (span[row] + size - 1) // size * size
    count = jnp.where(block < ends[-1], jnp.clip(span[row] - skipped, 0, size), 0)
    return QueryBlocks(
        row=row.astype(jnp.int32),
        token=(rows.starts[row] - lead[row] + skipped).astype(jnp.int32),
        position=(rows.lengths[row] - span[row] + skipped).astype(jnp.int32),
        count=count.astype(jnp.int32),
        lead=jnp.where(skipped == 0, lead[row], 0).astype(jnp.int32),
    )


def longest_first(blocks: QueryBlocks) -> QueryBlocks:
    """The query blocks by what they see, most first; the empty ones are last."""
    seen = jnp.where(blocks.count > 0, blocks.position + blocks.count, 0)
    at = jnp.arange(seen.shape[0])
    earlier = (seen[None] == seen[:, None]) & (at[None] < at[:, None])
    place = jnp.sum((seen[None] > seen[:, None]) | earlier, axis=1)
    order = jnp.zeros_like(at).at[place].set(at, unique_indices=True)
    return jax.tree.map(lambda column: column[order], blocks)

"""Cuts the rows of a step into query blocks: runs of new tokens of one row, computed together."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QueryBlocks:
    """Query blocks in the order of the rows. Those past the last row's have count 0; together they
    lie over the tokens of no row, that pad the step: `size` each, from their first on."""

    row: Int32[Array, "Q"]
    token: Int32[Array, "Q"]
    """The block's first token in the step."""
    position: Int32[Array, "Q"]
    """That token's position in its row's cache."""
    count: Int32[Array, "Q"]
    """How many tokens the block has."""


def query_blocks(rows, num_tokens: int, size: int) -> QueryBlocks:
    """The query blocks of at most `size` tokens of the rows after the decode rows.

    `num_tokens` is the step's T: the number of blocks is static, so it is the most that T tokens in
    as many rows can need, and then over what is left.
    """
    S = rows.num_tokens.shape[0]
    new = jnp.where(jnp.arange(S) < rows.num_decode, 0, rows.num_tokens)
    ends = jnp.cumsum((new + size - 1) // size)
    block = jnp.arange(min(num_tokens, -(-num_tokens // size) + S))
    row = jnp.minimum(jnp.sum(ends[None, :] <= block[:, None], axis=1), S - 1)
    skipped = (block - ends[row]) * size + (new[row] + size - 1) // size * size
    is_of_row = block < ends[-1]
    count = jnp.where(is_of_row, jnp.clip(new[row] - skipped, 0, size), 0)
    padding = jnp.minimum(jnp.sum(rows.num_tokens) + (block - ends[-1]) * size, num_tokens)
    return QueryBlocks(
        row=row.astype(jnp.int32),
        token=jnp.where(is_of_row, rows.starts[row] + skipped, padding).astype(jnp.int32),
        position=(rows.lengths[row] - new[row] + skipped).astype(jnp.int32),
        count=count.astype(jnp.int32),
    )

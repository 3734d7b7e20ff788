"""Sorts pairs of a token and one of its experts by expert, and cuts them into blocks of one expert
each."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from sgjax.kernels_pallas.tiles import next_power_of_two

_FEW_PAIRS = 1024
"""Each of so many is compared with each for less than it takes to add up columns of them."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Blocks:
    """Runs of pairs of one expert: `count` of them, from place `first` in `order` on. Those past
    the last run have count 0.

    Pair i is choice i % k of token i // k. Pairs of experts that are not here are of no block.
    """

    order: Int32[Array, "pairs"]
    expert: Int32[Array, "blocks"]
    first: Int32[Array, "blocks"]
    count: Int32[Array, "blocks"]


def expert_blocks(ids: Int32[Array, "T k"], num_experts: int, size: int) -> Blocks:
    """The blocks of at most `size` pairs, by expert. Their number is static: the most that so many
    pairs can need."""
    flat = jnp.where((ids >= 0) & (ids < num_experts), ids, num_experts).reshape(-1)
    order, counts, starts = _sorted(flat, num_experts + 1)
    counts, starts = counts[:num_experts], starts[:num_experts]
    needed = (counts + size - 1) // size
    ends = jnp.cumsum(needed)
    block = jnp.arange(most_blocks(flat.size, num_experts, size))
    expert = jnp.minimum(jnp.sum(ends[None, :] <= block[:, None], axis=1), num_experts - 1)
    skipped = (block - ends[expert] + needed[expert]) * size
    count = jnp.where(block < ends[-1], jnp.clip(counts[expert] - skipped, 0, size), 0)
    return Blocks(
        order=order,
        expert=expert.astype(jnp.int32),
        first=(starts[expert] + skipped).astype(jnp.int32),
        count=count.astype(jnp.int32),
    )


def _sorted(
    keys: Int32[Array, "n"], num_keys: int
) -> tuple[Int32[Array, "n"], Int32[Array, "keys"], Int32[Array, "keys"]]:
    """Keys below `num_keys` in their order (equal ones as they come), and of each key how many
    there are and where they begin. Counted: XLA would compile a sort for each layer of a model,
    which takes most of the time."""
    n = keys.size
    is_key = keys[:, None] == jnp.arange(num_keys)[None]
    counts = jnp.sum(is_key, axis=0, dtype=jnp.int32)
    starts = jnp.cumsum(counts) - counts
    at = jnp.arange(n, dtype=jnp.int32)
    if n <= _FEW_PAIRS:
        is_before = (keys[None, :] == keys[:, None]) & (at[None, :] < at[:, None])
        place = starts[keys] + jnp.sum(is_before, axis=1, dtype=jnp.int32)
        order = jnp.sum(jnp.where(place[None, :] == at[:, None], at[None, :], 0), axis=1)
    else:
        up_to = jnp.cumsum(is_key, axis=0, dtype=jnp.int32)
        place = starts[keys] + jnp.take_along_axis(up_to, keys[:, None], axis=1)[:, 0] - 1
        order = jnp.zeros_like(at).at[place].set(at, unique_indices=True)
    return order, counts, starts


def most_blocks(num_pairs: int, num_experts: int, size: int) -> int:
    """That so many pairs can need: each expert has but one block that is not full."""
    return min(num_pairs, (num_pairs + num_experts * (size - 1)) // size)


def block_size(num_pairs: int, num_experts: int, *, least: int, most: int) -> int:
    """A power of two, about as many pairs as an expert has."""
    return min(max(next_power_of_two(max(num_pairs // num_experts, 1)), least), most)


def sum_of_choices(
    made: jax.Array, ids: Int32[Array, "T k"], num_experts: int, dtype: jnp.dtype
) -> jax.Array:
    """[T, D]: what was made for each pair, [T * k, D], added up where its expert is here."""
    here = ((ids >= 0) & (ids < num_experts))[:, :, None]
    made = made.reshape(*ids.shape, -1)
    return jnp.where(here, made, 0).astype(jnp.float32).sum(1).astype(dtype)

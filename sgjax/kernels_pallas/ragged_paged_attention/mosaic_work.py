"""What the warpgroups of a program of `mosaic_extend` have in common: its units, its memory."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from sgjax.kernels_pallas.ragged_paged_attention import triton_block as tb

TOKENS = 64
"""Tokens of a query block: the rows of a warpgroup's product."""
BOTH = 2
"""Warpgroups that compute."""


@dataclasses.dataclass(frozen=True)
class Shared:
    """What lies in shared memory: tiles, and the barriers that say what is full, free or due."""

    q: Any  # [2, BOTH, TOKENS, H]: this unit's, and the next one's; later the result
    ragged: Any  # [BOTH, TOKENS, H]: the result of a block that is not full, row after row
    k: Any  # [stages, block, H]
    v: Any  # [stages, block, H]
    q_full: Any
    k_full: Any
    v_full: Any
    k_free: Any
    v_free: Any
    turn: Any
    clean: Any


@dataclasses.dataclass(frozen=True)
class Unit:
    """A query block, as in the plan, and two query heads of a kv head: scalars."""

    row: jax.Array
    token: jax.Array
    position: jax.Array
    count: jax.Array
    lead: jax.Array
    length: jax.Array
    head: jax.Array
    pair: jax.Array


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Blocks of cached tokens: the unit's are [first, last), all of its tokens see [whole, cut)."""

    first: jax.Array
    whole: jax.Array
    cut: jax.Array
    last: jax.Array


@dataclasses.dataclass(frozen=True)
class Work:
    """The units of a program. They are dealt from the longest to the shortest, every other time in
    the opposite order, so that all programs get about as much."""

    lengths_ref: Any
    row_ref: Any
    token_ref: Any
    position_ref: Any
    count_ref: Any
    lead_ref: Any
    shape: tuple[int, ...]
    programs: int
    num_units: jax.Array
    block: int
    options: tb.Options

    def _dealt(self, n):
        """The unit that the program gets the n-th time."""
        program = lax.axis_index("program")
        back = self.programs - 1 - program
        return n * self.programs + jnp.where(lax.rem(n, 2) == 0, program, back)

    @property
    def num_turns(self):
        """How many units the program gets."""
        whole = lax.div(self.num_units, self.programs)
        return whole + (self._dealt(whole) < self.num_units).astype(jnp.int32)

    def unit(self, n) -> Unit:
        """The n-th unit of the program."""
        _, K, G, _ = self.shape
        pairs = pl.cdiv(G, BOTH)
        at = self._dealt(n)
        block, head = lax.div(at, K * pairs), lax.rem(at, K * pairs)
        row = self.row_ref[block]
        return Unit(
            row=row,
            token=pl.multiple_of(self.token_ref[block], 8),
            position=self.position_ref[block],
            count=self.count_ref[block],
            lead=self.lead_ref[block],
            length=self.lengths_ref[row],
            head=lax.div(head, pairs),
            pair=lax.rem(head, pairs),
        )

    def blocks(self, unit: Unit) -> Blocks:
        """What the unit reads."""
        N, first_seen = self.block, self.options.first_seen
        end = unit.position + unit.count
        first, last = lax.div(first_seen(unit.position), N), pl.cdiv(end, N)
        whole = first
        if self.options.window is not None:
            whole = jnp.minimum(pl.cdiv(first_seen(end - 1), N), last)
        return Blocks(first, whole, jnp.maximum(lax.div(unit.position + 1, N), whole), last)

"""What both kernels do with one row: read it block by block, and find who arrives first."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.draw_tokens.chance import BLOCK, LANES, WORDS, block_times
from sgjax.kernels_pallas.draw_tokens.rules import INTEGERS, Rules, arrival, penalised

INFINITY = np.float32(np.inf)
NONE = np.int32(np.iinfo(np.int32).max)
"""In place of a token: larger than all."""


def pack(rules: Rules):
    """i32[fields, R]: one small array, written by one kernel."""
    return jnp.stack([lax.bitcast_convert_type(field, jnp.int32) for field in rules])


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of logits, its history, and how its token is drawn."""

    logits_ref: Any  # f32[R, V]
    seen_ref: Any  # i16[slots, V]
    index: Any
    rules: Rules

    @classmethod
    def of(cls, logits_ref, seen_ref, rules_ref, index) -> "Row":
        words = [rules_ref[field, index] for field in range(rules_ref.shape[0])]
        floats = [lax.bitcast_convert_type(word, jnp.float32) for word in words[INTEGERS:]]
        return cls(logits_ref, seen_ref, index, Rules(*words[:INTEGERS], *floats))

    @property
    def num_blocks(self) -> int:
        return -(-self.logits_ref.shape[1] // BLOCK)

    def tokens(self, number):
        """The four parts of a block, i32[LANES] each; some may be past the end."""
        first = number * BLOCK + jnp.arange(LANES)
        return [first + part * LANES for part in range(WORDS)]

    def logits(self, tokens):
        """Of each of several arrays of tokens, after penalties: +inf in place of NaN, and -inf past
        the end."""
        logits = [_load(self.logits_ref, self.index, part, -np.inf) for part in tokens]
        slot, num_slots = self.rules.slot, self.seen_ref.shape[0]

        def penalise():
            known = jnp.minimum(slot, num_slots - 1)
            seen = [_load(self.seen_ref, known, part, 0) for part in tokens]
            return [penalised(x, n, self.rules) for x, n in zip(logits, seen, strict=True)]

        is_due = self.rules.has_penalties & (slot < num_slots)
        logits = lax.cond(is_due, penalise, lambda: logits)
        return [jnp.where(x == x, x, INFINITY) for x in logits]

    def depths(self, largest, logits):
        return [(largest - x) * self.rules.rate for x in logits]

    def arrivals(self, number, depths):
        """When the tokens of a block arrive."""
        is_random = self.rules.is_random
        calls = number * LANES + jnp.arange(LANES)
        times = lax.cond(
            is_random > 0,
            lambda: block_times(self.rules.seed, self.rules.position, calls, is_unrolled=False),
            lambda: [jnp.zeros(LANES, jnp.float32)] * WORDS,
        )
        return [arrival(time, d, is_random) for time, d in zip(times, depths, strict=True)]


def _load(ref, row, tokens, other):
    return plgpu.load(ref.at[row, tokens], mask=tokens < ref.shape[1], other=other)


def level_of(largest):
    """What depths are measured from: the largest logit, where it is one."""
    return jnp.where(jnp.abs(largest) < INFINITY, largest, 0.0)


def earliest(times, tokens):
    """The least of times, and the first of the tokens that arrive then; NONE if none ever does.
    Both are lists of vectors."""
    least = jnp.min(lanewise(jnp.minimum, times))
    there = [jnp.where(x == least, token, NONE) for x, token in zip(times, tokens, strict=True)]
    token = jnp.min(lanewise(jnp.minimum, there))
    return least, jnp.where(least < INFINITY, token, NONE)


def lanewise(combine, vectors):
    """Several vectors as one."""
    found = vectors[0]
    for x in vectors[1:]:
        found = combine(found, x)
    return found

"""What both kernels do with one row: read it block by block, and find who arrives first."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.draw_tokens.chance import BLOCK, LANES, WORDS, block_times
from sgjax.kernels_pallas.draw_tokens.rules import INTEGERS, Rules, delayed, penalised

INFINITY = np.float32(np.inf)
NONE = np.int32(np.iinfo(np.int32).max)
"""In place of a token: larger than all."""


def pack(rules: Rules):
    """i32[fields, R]: one small array, written by one kernel."""
    return jnp.stack([lax.bitcast_convert_type(field, jnp.int32) for field in rules])


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of logits, its history, and how its token is drawn.

    It is read span by span. A span's tokens are a list of matrices i32[words, lanes]. A lane is a
    call for random numbers, and has the tokens of one word of it in each row of a matrix.

    The time that Triton takes to compile grows with the square of a kernel's operations, so one
    matrix is best: `settle` took 0.9 s with a vector for each word, and takes 0.4. But then each
    operation is done with all of a thread's tokens before the next is, which takes registers.
    """

    logits_ref: Any  # f32[R, V]
    seen_ref: Any  # i16[slots, V]
    index: Any
    rules: Rules
    lanes: int
    """Calls of a span: LANES, or several blocks of them."""
    words: int
    """Rows of a matrix: 1, 2 or 4."""

    @classmethod
    def of(cls, logits_ref, seen_ref, rules_ref, index, *, lanes: int, words: int) -> "Row":
        fields = [rules_ref[field, index] for field in range(rules_ref.shape[0])]
        floats = [lax.bitcast_convert_type(field, jnp.float32) for field in fields[INTEGERS:]]
        rules = Rules(*fields[:INTEGERS], *floats)
        return cls(logits_ref, seen_ref, index, rules, lanes, words)

    @property
    def num_blocks(self) -> int:
        return -(-self.logits_ref.shape[1] // BLOCK)

    @property
    def num_spans(self) -> int:
        return -(-self.logits_ref.shape[1] // (WORDS * self.lanes))

    def tokens(self, span):
        """The matrices of a span; some tokens may be past the end.

        Lanes are written as fours and what is left of them, so that a thread has four neighbours:
        one load of logits. Else it would have eight, one load of the history, and as that makes
        half as many threads a row, a lane's words would be in several threads.
        """
        shape = self.words, self.lanes
        lane, word = (lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (1, 0))
        four, lanes = np.int32(4), np.int32(LANES)
        first = lax.div(lane, four) * four + lax.rem(lane, four)
        first += lax.div(lane, lanes) * (BLOCK - LANES)
        first += span * (WORDS * self.lanes)
        return [first + (word + i) * LANES for i in range(0, WORDS, self.words)]

    def logits(self, tokens, span):
        """Of a list of tokens, after penalties: +inf in place of NaN, and -inf past the end.

        Whether penalties are due is asked of the span, though it is the same for all: else a loop
        over spans is compiled twice, with them and without. `settle` took 0.4 s, and takes 0.23.
        """
        logits = [_load(self.logits_ref, self.index, some, -np.inf) for some in tokens]
        slot, num_slots = self.rules.slot, self.seen_ref.shape[0]

        def penalise():
            known = jnp.minimum(slot, num_slots - 1)
            seen = [_load(self.seen_ref, known, some, 0) for some in tokens]
            return [penalised(x, n, self.rules) for x, n in zip(logits, seen, strict=True)]

        is_due = self.rules.has_penalties & (slot < num_slots)
        logits = lax.cond(span < jnp.where(is_due, NONE, 0), penalise, lambda: logits)
        return [jnp.where(x == x, x, INFINITY) for x in logits]

    def depths(self, largest, logits):
        return [(largest - x) * self.rules.rate for x in logits]

    def arrivals(self, span, depths):
        """When the tokens of a span arrive, where there is chance."""
        calls = span * self.lanes + jnp.arange(self.lanes)
        seed, position = self.rules.seed, self.rules.position
        words = block_times(seed, position, calls, is_unrolled=False)
        times = [_stack(words[i : i + self.words]) for i in range(0, WORDS, self.words)]
        return [delayed(time, d) for time, d in zip(times, depths, strict=True)]


def _load(ref, row, tokens, other):
    return plgpu.load(ref.at[row, tokens], mask=tokens < ref.shape[1], other=other)


def _stack(vectors):
    """The matrix whose rows are these vectors; Triton can join no more than two."""
    shape = len(vectors), *vectors[0].shape
    row = lax.broadcasted_iota(jnp.int32, shape, 0)
    matrix = jnp.broadcast_to(vectors[0], shape)
    for i, vector in enumerate(vectors[1:], 1):
        matrix = jnp.where(row == i, vector, matrix)
    return matrix


def level_of(largest):
    """What depths are measured from: the largest logit, where it is one."""
    return jnp.where(jnp.abs(largest) < INFINITY, largest, 0.0)


def earliest(times, tokens):
    """The least of times, and the first of the tokens that arrive then; NONE if none ever does.
    Both are lists of matrices."""
    least = jnp.min(lanewise(jnp.minimum, times))
    there = [jnp.where(x == least, token, NONE) for x, token in zip(times, tokens, strict=True)]
    token = jnp.min(lanewise(jnp.minimum, there))
    return least, jnp.where(least < INFINITY, token, NONE)


def lanewise(combine, matrices):
    """Several matrices as one vector: what is in a lane is in one thread, so this costs little."""
    found = matrices[0]
    for x in matrices[1:]:
        found = combine(found, x)
    return combine.reduce(found, axis=0)

"""The second kernel: a row's proposal is taken, or the row is searched for a better one.

The first of all tokens to arrive is the first candidate if it is one, and else no token that is as
deep is a candidate. So a pass over the row counts and sums up what is less deep than the proposal.
Where that is too much, other depths, which the same pass looked at, narrow down where candidates
end; and as soon as half of what may be drawn is a candidate for certain, the row is drawn from
again, from there.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.draw_tokens.chance import LANES, WORDS
from sgjax.kernels_pallas.draw_tokens.rules import arrival, likelihood
from sgjax.kernels_pallas.draw_tokens.triton_row import (
    INFINITY,
    NONE,
    Row,
    earliest,
    lanewise,
    level_of,
)
from sgjax.kernels_pallas.tiles import next_power_of_two

_LANES = 2 * LANES
"""Two blocks are read at a time, in one matrix, so that memory has enough to do."""


def settle(logits_ref, seen_ref, rules_ref, found_ref, tokens_ref, token_ref):
    # found: f32[3, R, blocks]   tokens: i32[R, blocks]   token: i32[R]
    index = pl.program_id(0)
    row = Row.of(logits_ref, seen_ref, rules_ref, index, lanes=_LANES, words=WORDS)
    largest, total, token = _combine(row, found_ref, tokens_ref)
    search = _Search(row, level_of(largest), row.rules.top_p * total)
    is_sound = jnp.abs(largest) < INFINITY
    may_fail = is_sound & (row.rules.is_random > 0)  # The likeliest is always a candidate.
    deepest = _bits(row.rules.deepest)
    state = _State(
        token=token,
        depth=jnp.where(may_fail, search.depth_of(token), 0),
        surely_in=jnp.where(row.rules.has_sums, 0, deepest),
        maybe_in=deepest,
        sure_share=jnp.float32(1),
        share=total,
    )
    state = lax.while_loop(_State.is_open, search.step, state)
    token_ref[index] = jnp.where(is_sound, state.token, -1)


def _combine(row, found_ref, tokens_ref):
    """(largest logit, sum of likelihoods, who arrives first) of a row."""
    number = jnp.arange(next_power_of_two(row.num_blocks))
    own = number < row.num_blocks

    def load(i, other):
        return plgpu.load(found_ref.at[i, row.index, number], mask=own, other=other)

    largests, sums, times = load(0, -INFINITY), load(1, 0), load(2, INFINITY)
    tokens = plgpu.load(tokens_ref.at[row.index, number], mask=own, other=NONE)
    largest = jnp.max(largests)
    (depths,) = row.depths(level_of(largest), [largests])
    times = arrival(times, depths, row.rules.is_random)
    _, token = earliest([times[None]], [tokens[None]])
    return largest, jnp.sum(sums * likelihood(depths)), token


class _State(NamedTuple):
    """How far a row is. Depths are the bits of floats here, which order them, and can be halved.
    Candidates are all tokens down to one that is known to lie between two."""

    token: Array
    depth: Array
    """Of the token."""
    surely_in: Array
    maybe_in: Array
    sure_share: Array
    """At most the sum of likelihoods down to `surely_in`."""
    share: Array
    """At least that down to `maybe_in`."""

    def is_open(self):
        return self.depth > self.surely_in


class _Search(NamedTuple):
    """What stays the same while a row is settled."""

    row: Row
    largest: Array
    least_sum: Array

    def step(self, state: _State) -> _State:
        """One pass over the row: a new draw, or less doubt."""
        is_refused = state.depth > state.maybe_in
        is_narrow = (state.surely_in >= state.maybe_in) | (2 * state.sure_share >= state.share)
        return lax.cond(is_refused & is_narrow, self.draw, self.narrow, state)

    def draw(self, state: _State) -> _State:
        """The first of all tokens that may be candidates."""
        deepest = _depth(state.maybe_in)

        def look(span, first):
            tokens = self.row.tokens(span)
            (depths,) = self.row.depths(self.largest, self.row.logits(tokens, span))
            may_be = depths <= deepest

            def compare():
                (times,) = self.row.arrivals(span, [depths])
                time, token = earliest([jnp.where(may_be, times, INFINITY)], tokens)
                is_earlier = time < first[0]
                return jnp.where(is_earlier, time, first[0]), jnp.where(is_earlier, token, first[1])

            is_any = jnp.max(lanewise(jnp.maximum, [may_be.astype(jnp.int32)])) > 0
            return lax.cond(is_any, compare, lambda: first)

        _, token = lax.fori_loop(0, self.row.num_spans, look, (INFINITY, state.token))
        # Were a depth computed here not to the bit what it was there, the search would still end.
        return state._replace(token=token, depth=jnp.minimum(self.depth_of(token), state.maybe_in))

    def depth_of(self, token: Array) -> Array:
        return _bits(self.row.depths(self.largest, self.row.logits([token], 0))[0])

    def narrow(self, state: _State) -> _State:
        """Looks whether the token is a candidate, and depths above it: the middle of their bits,
        which bounds the number of passes, and two of their values, which makes it small."""
        low, high = state.surely_in, jnp.minimum(state.depth, state.maybe_in)
        middle = low + (high - low + 1) // 2
        third = (_depth(high) - _depth(low)) * np.float32(1 / 3)
        for weighed in self.weigh(
            high, middle, _bits(_depth(low) + third), _bits(_depth(high) - third)
        ):
            state = weighed.told(state)
        return state

    def weigh(self, *depths: Array) -> "list[_Weighed]":
        """Counts and sums up what is less deep than each, in one pass."""
        limits = [_depth(depth) for depth in depths]

        def look(span, sums):
            logits = self.row.logits(self.row.tokens(span), span)
            (own,) = self.row.depths(self.largest, logits)
            weights = likelihood(own)
            found = []
            for limit, (count, share) in zip(limits, sums, strict=True):
                above = jnp.where(own < limit, np.float32(1), np.float32(0))
                count += lanewise(jnp.add, [above])
                share += lanewise(jnp.add, [above * weights])
                found.append((count, share))
            return found

        none = jnp.zeros(self.row.lanes, jnp.float32)
        sums = lax.fori_loop(0, self.row.num_spans, look, [(none, none)] * len(depths))
        weighed = []
        for depth, (counts, shares) in zip(depths, sums, strict=True):
            count, share = jnp.sum(counts).astype(jnp.int32), jnp.sum(shares)
            is_in = (count < self.row.rules.top_k) & (share < self.least_sum)
            weighed.append(_Weighed(depth, share, is_in))
        return weighed


class _Weighed(NamedTuple):
    """A depth, the sum of likelihoods of what is less deep, and whether candidates reach it."""

    depth: Array
    share: Array
    is_in: Array

    def told(self, state: _State) -> _State:
        """What is known with this."""
        below = self.depth - 1
        is_low = self.is_in & (self.depth > state.surely_in)
        is_high = ~self.is_in & (below < state.maybe_in)
        return state._replace(
            surely_in=jnp.where(is_low, self.depth, state.surely_in),
            sure_share=jnp.where(is_low, self.share, state.sure_share),
            maybe_in=jnp.where(is_high, below, state.maybe_in),
            share=jnp.where(is_high, self.share, state.share),
        )


def _bits(depth):
    return lax.bitcast_convert_type(depth, jnp.int32)


def _depth(bits):
    return lax.bitcast_convert_type(bits, jnp.float32)

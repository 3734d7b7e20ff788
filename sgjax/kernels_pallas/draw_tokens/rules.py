"""What rows' parameters come to as numbers that a kernel needs, and the formulas with them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from sgjax.kernels_pallas.draw_tokens import Draws
from sgjax.sampling_params import GREEDY_BELOW

_LOG2_E = np.float32(np.log2(np.e))


class Rules(NamedTuple):
    """Of each row, or of one. Limits that limit nothing are infinite, or larger than any count."""

    slot: Array
    seed: Array
    position: Array
    top_k: Array
    is_random: Array
    """i32: 0 where the likeliest token is drawn."""
    rate: Array
    """One over the temperature; 1 where it does not matter."""
    top_p: Array
    deepest: Array
    """Depth that `min_p` allows."""
    frequency: Array
    presence: Array
    repetition: Array
    less: Array
    """One over the repetition penalty."""

    @property
    def has_penalties(self):
        return (self.frequency != 0) | (self.presence != 0) | (self.repetition != 1)

    @property
    def has_sums(self):
        """Whether candidates depend on counts or shares of others."""
        return (self.top_k < np.iinfo(np.int32).max) | (self.top_p < 1)


INTEGERS = 5
"""The first fields of Rules; the others are f32."""


def rules_of(draws: Draws) -> Rules:
    is_random = draws.temperature >= GREEDY_BELOW
    return Rules(
        slot=draws.slots,
        seed=draws.seeds,
        position=draws.positions,
        top_k=jnp.where(draws.top_k < 0, np.iinfo(np.int32).max, draws.top_k),
        is_random=is_random.astype(jnp.int32),
        rate=1 / jnp.where(is_random, draws.temperature, 1.0),
        top_p=jnp.where(draws.top_p < 1, draws.top_p, np.inf),
        deepest=jnp.abs(jnp.log(draws.min_p)),
        frequency=draws.frequency_penalty,
        presence=draws.presence_penalty,
        repetition=draws.repetition_penalty,
        less=1 / draws.repetition_penalty,
    )


def penalised(logits, history, rules: Rules):
    """After the penalties: repetition (prompt and output), frequency and presence (output only)."""
    factor = jnp.where(logits > 0, rules.less, rules.repetition)
    logits = jnp.where(history > 0, logits * factor, logits)
    count = (history >> 1).astype(jnp.float32)
    logits = logits - rules.frequency * count
    return logits - jnp.where(count > 0, rules.presence, np.float32(0))


def likelihood(depth):
    """exp(-depth): relative to the likeliest token."""
    return jnp.exp2(depth * -_LOG2_E)


def arrival(time, depth, is_random):
    """When a token arrives whose time at depth 0 is `time`: the first one is drawn.

    Without chance it is the depth that counts, and times begin at 0.
    """
    return jnp.where(is_random > 0, delayed(time, depth), time + depth)


def delayed(time, depth):
    """The arrival where there is chance. A likelier one is earlier: its rate is exp(-depth)."""
    return time * jnp.exp2(depth * _LOG2_E)

"""The definition, for any platform: candidates are found by bisection over the bits of depths."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from sgjax.kernels_pallas.draw_tokens.chance import BLOCK, LANES, block_times
from sgjax.kernels_pallas.draw_tokens.rules import Rules, arrival, likelihood, penalised, rules_of


def draw_tokens(logits, seen, draws):
    """The contract."""
    rules = rules_of(draws)
    column = Rules(*(field[:, None] for field in rules))
    history = seen.at[rules.slot].get(mode="fill", fill_value=0)
    logits = penalised(logits, history, column)
    logits = jnp.where(jnp.isnan(logits), np.inf, logits)
    largest = logits.max(axis=-1, keepdims=True)
    is_sound = jnp.isfinite(largest)
    depths = (jnp.where(is_sound, largest, 0.0) - logits) * column.rate
    times = jnp.where(column.is_random > 0, row_times(rules, logits.shape[-1]), 0.0)
    times = arrival(times, depths, column.is_random)
    times = jnp.where(candidates(depths, column), times, np.inf)
    return jnp.where(is_sound[:, 0], jnp.argmin(times, axis=-1).astype(jnp.int32), -1)


def candidates(depths, rules):
    """Which tokens top_k, top_p and min_p leave: those down to a depth, bool[R, V].

    Non-negative floats are ordered as their bits are.
    """
    weights = likelihood(depths)
    least_sum = rules.top_p * weights.sum(axis=-1, keepdims=True)

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low + 1) // 2
        above = depths < lax.bitcast_convert_type(middle, jnp.float32)
        share = jnp.where(above, weights, 0.0).sum(axis=-1, keepdims=True)
        is_in = (above.sum(axis=-1, keepdims=True) < rules.top_k) & (share < least_sum)
        return jnp.where(is_in, middle, low), jnp.where(is_in, high, middle - 1)

    high = lax.bitcast_convert_type(rules.deepest, jnp.int32)
    limit, _ = lax.fori_loop(0, 31, halve, (jnp.zeros_like(high), high))
    return depths <= lax.bitcast_convert_type(limit, jnp.float32)


def row_times(rules, num_tokens):
    """The random times of rows for every token, f32[R, V]."""
    num_blocks = -(-num_tokens // BLOCK)
    calls = jnp.arange(num_blocks * LANES, dtype=jnp.int32).reshape(1, num_blocks, LANES)
    seed, position = (x[:, None, None] for x in (rules.seed, rules.position))
    times = jnp.stack(block_times(seed, position, calls), axis=2)
    return times.reshape(len(rules.seed), -1)[:, :num_tokens]

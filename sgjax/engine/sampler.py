"""Tokens from logits, on the device and without a sort.

The candidates that top-k, top-p and min-p leave are those at or above one threshold of
probability, found by bisection over the bits of float32 (which order non-negative floats as
integers): exact, and in a fixed number of passes. One of them is drawn by the Gumbel-max trick. A
row's random numbers come from its request's seed and the token's position alone, so they do not
depend on the batch.
"""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int16, Int32

from sgjax.engine.sample_step import unpack_sample
from sgjax.sampling_params import GREEDY_BELOW, MAX_TOP_LOGPROBS

_MAX_COUNT = 2**14 - 2


class Variant(enum.Enum):
    """Which sampler a step needs: each is compiled on its own, the first is the cheapest."""

    GREEDY = "greedy"
    GENERAL = "general"
    LOGPROBS = "logprobs"


class Sampled(NamedTuple):
    """Per wanted logits: the drawn (or known) token, and what LOGPROBS adds.

    A token is -1 where its logits hold NaN or have no largest finite value.
    """

    tokens: Int32[Array, "R"]
    logprobs: Float[Array, "R"] | None = None
    top_ids: Int32[Array, "R 20"] | None = None
    top_logprobs: Float[Array, "R 20"] | None = None


def sample(
    logits: Float[Array, "R V"],
    raw_logits: Float[Array, "R V"],
    last_tokens: Int32[Array, "slots"],
    seen: Int16[Array, "slots V"],
    vector: Int32[Array, "n"],
    *,
    variant: Variant,
) -> tuple[Sampled, Int32[Array, "slots"], Int16[Array, "slots V"]]:
    """Draws a token per row, and keeps it for the next step.

    `logits` are float32 with biases added, `raw_logits` without (logprobs are of these). `seen`
    holds per request slot and token twice the count in its output, plus one if it stands in its
    prompt.
    """
    rows = unpack_sample(vector, logits.shape[0])
    best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    is_sound = jnp.isfinite(jnp.take_along_axis(logits, best[:, None], axis=-1)[:, 0])
    if variant is Variant.GREEDY:
        tokens = jnp.where(is_sound, best, -1)
        return Sampled(tokens), _keep(last_tokens, rows["slots"], tokens), seen

    history = seen.at[rows["slots"]].get(mode="fill", fill_value=0)
    drawn = _draw(_penalise(logits, history, rows), rows)
    targets = rows["targets"]
    tokens = jnp.where(is_sound, jnp.where(targets >= 0, targets, drawn), -1)
    last_tokens = _keep(last_tokens, rows["slots"], tokens)
    seen = _count(seen, rows["slots"], tokens, history)
    if variant is Variant.GENERAL:
        return Sampled(tokens), last_tokens, seen
    return _with_logprobs(tokens, raw_logits), last_tokens, seen


def _keep(
    last_tokens: Int32[Array, "slots"], slots: Int32[Array, "R"], tokens: Int32[Array, "R"]
) -> Int32[Array, "slots"]:
    return last_tokens.at[slots].set(jnp.maximum(tokens, 0), mode="drop")


def _penalise(
    logits: Float[Array, "R V"], history: Int16[Array, "R V"], rows: dict[str, Array]
) -> Float[Array, "R V"]:
    """Repetition (prompt and output), then frequency and presence (output only)."""
    repetition = rows["repetition_penalty"][:, None]
    repeated = jnp.where(logits > 0, logits / repetition, logits * repetition)
    logits = jnp.where(history > 0, repeated, logits)
    count = (history >> 1).astype(jnp.float32)
    logits = logits - rows["frequency_penalty"][:, None] * count
    return logits - jnp.where(count > 0, rows["presence_penalty"][:, None], 0.0)


def _count(
    seen: Int16[Array, "slots V"],
    slots: Int32[Array, "R"],
    tokens: Int32[Array, "R"],
    history: Int16[Array, "R V"],
) -> Int16[Array, "slots V"]:
    """Counts the drawn tokens in `seen`; counts stop growing at 16,382."""
    at = jnp.maximum(tokens, 0)
    old = jnp.take_along_axis(history, at[:, None], axis=-1)[:, 0]
    new = jnp.where((old >> 1) < _MAX_COUNT, old + jnp.int16(2), old)
    return seen.at[slots, at].set(new, mode="drop")


def _draw(logits: Float[Array, "R V"], rows: dict[str, Array]) -> Int32[Array, "R"]:
    temperature = rows["temperature"]
    greedy = temperature < GREEDY_BELOW
    scaled = logits / jnp.where(greedy, 1.0, temperature)[:, None]
    allowed = _candidates(jax.nn.softmax(scaled, axis=-1), rows)
    noisy = scaled + _gumbel(rows["seeds"], rows["positions"], logits.shape[-1])
    drawn = jnp.argmax(jnp.where(allowed, noisy, -jnp.inf), axis=-1)
    return jnp.where(greedy, jnp.argmax(logits, axis=-1), drawn).astype(jnp.int32)


def _candidates(probs: Float[Array, "R V"], rows: dict[str, Array]) -> Bool[Array, "R V"]:
    """Which tokens top_k, top_p and min_p leave: those at or above the highest threshold.

    top_k keeps all tokens as likely as the k-th; top_p keeps the likeliest tokens whose sum first
    reaches it. The likeliest token is always left.
    """
    top_k = jnp.where(rows["top_k"] < 0, probs.shape[-1], rows["top_k"])
    top_p = rows["top_p"]
    largest = probs.max(axis=-1)

    def halve(_: Array, bounds: tuple[Array, Array, Array, Array]) -> tuple[Array, ...]:
        k_low, k_high, p_low, p_high = bounds
        k_mid, p_mid = k_low + (k_high - k_low + 1) // 2, p_low + (p_high - p_low + 1) // 2
        k_enough = (probs >= _float(k_mid)[:, None]).sum(axis=-1) >= top_k
        p_mass = jnp.where(probs >= _float(p_mid)[:, None], probs, 0.0).sum(axis=-1)
        p_enough = p_mass >= top_p
        return (
            jnp.where(k_enough, k_mid, k_low),
            jnp.where(k_enough, k_high, k_mid - 1),
            jnp.where(p_enough, p_mid, p_low),
            jnp.where(p_enough, p_high, p_mid - 1),
        )

    high = lax.bitcast_convert_type(largest, jnp.int32)
    low = jnp.zeros_like(high)
    k_bits, _, p_bits, _ = lax.fori_loop(0, 31, halve, (low, high, low, high))
    threshold = jnp.maximum(_float(k_bits), _float(p_bits))
    threshold = jnp.maximum(threshold, rows["min_p"] * largest)
    return probs >= threshold[:, None]


def _float(bits: Int32[Array, "R"]) -> Float[Array, "R"]:
    return lax.bitcast_convert_type(bits, jnp.float32)


def _gumbel(
    seeds: Int32[Array, "R"], positions: Int32[Array, "R"], vocab_size: int
) -> Float[Array, "R V"]:
    def row(seed: Array, position: Array) -> Array:
        key = jax.random.fold_in(jax.random.key(seed), position)
        return jax.random.gumbel(key, (vocab_size,), jnp.float32)

    return jax.vmap(row)(seeds, positions)


def _with_logprobs(tokens: Int32[Array, "R"], raw_logits: Float[Array, "R V"]) -> Sampled:
    logprobs = jax.nn.log_softmax(raw_logits, axis=-1)
    of_token = jnp.take_along_axis(logprobs, jnp.maximum(tokens, 0)[:, None], axis=-1)[:, 0]
    top, ids = lax.top_k(logprobs, min(MAX_TOP_LOGPROBS, logprobs.shape[-1]))
    return Sampled(tokens, of_token, ids.astype(jnp.int32), top)


def add_bias(
    logits: Float[Array, "R V"],
    rows: Int32[Array, "n"],
    tokens: Int32[Array, "n"],
    values: Float[Array, "n"],
) -> Float[Array, "R V"]:
    """Adds `values` to single logits; rows past the end are dropped."""
    return logits.at[rows, tokens].add(values, mode="drop")


def restart_seen(
    seen: Int16[Array, "slots V"],
    slot: Int32[Array, ""],
    is_first: Bool[Array, ""],
    tokens: Int32[Array, "n"],
    values: Int16[Array, "n"],
) -> Int16[Array, "slots V"]:
    """Sets a slot's row of `seen` from a list of distinct tokens; the first piece clears it."""
    row = jnp.where(is_first, jnp.zeros_like(seen[slot]), seen[slot])
    return seen.at[slot].set(row.at[tokens].set(values, mode="drop"))

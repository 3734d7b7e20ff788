"""Tokens from logits, on the device and without a sort: what a step does around `draw_tokens`."""

import enum
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export, lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int16, Int32

from sgjax.engine.sample_step import unpack_sample
from sgjax.kernels_pallas.draw_tokens import Draws, draw_tokens
from sgjax.sampling_params import MAX_TOP_LOGPROBS
from sgjax.sharding.mesh import Placement

_MAX_COUNT = 2**14 - 2


class Variant(enum.Enum):
    """Which sampler a step needs: each is compiled on its own, the first is the cheapest."""

    GREEDY = "greedy"
    GENERAL = "general"


class Logprobs(NamedTuple):
    """Per wanted logits: the logprob of its token, and the likeliest tokens."""

    of_token: Float[Array, "R"]
    top_ids: Int32[Array, "R 20"]
    top: Float[Array, "R 20"]


# So that programs that give it can be written to the disk.
export.register_namedtuple_serialization(Logprobs, serialized_name="sgjax.Logprobs")


def sample(
    logits: Float[Array, "R V"],
    last_tokens: Int32[Array, "slots"],
    seen: Int16[Array, "slots V"],
    vector: Int32[Array, "n"],
    *,
    variant: Variant,
    placement: Placement,
) -> tuple[Int32[Array, "R"], Int32[Array, "slots"], Int16[Array, "slots V"]]:
    """Draws a token per row, and keeps it for the next step.

    A token is the target where this is known, and -1 where logits hold NaN or have no largest
    finite value. `logits` are float32 with biases added. `seen` holds per request slot and token
    twice the count in its output, plus one if it stands in its prompt; GREEDY needs none and counts
    none.
    """
    rows = unpack_sample(vector, logits.shape[0])
    slots, targets = rows.pop("slots"), rows.pop("targets")
    del rows["holds"]
    if variant is Variant.GREEDY:
        drawn = _likeliest(logits)
    else:
        # Where a token is known, none is drawn: the likeliest costs least.
        rows["temperature"] = jnp.where(targets >= 0, 0.0, rows["temperature"])
        drawn = _draw(logits, seen, Draws(slots=slots, **rows), placement)
    tokens = jnp.where((targets >= 0) & (drawn >= 0), targets, drawn)
    if variant is Variant.GENERAL:
        seen = _count(seen, slots, tokens)
    return tokens, _keep(last_tokens, slots, tokens), seen


def hold(
    held: Float[Array, "slots V"], logits: Float[Array, "R V"], vector: Int32[Array, "n"]
) -> Float[Array, "slots V"]:
    """Keeps the logits of tokens that are drawn later, each at its request's slot."""
    holds = unpack_sample(vector, logits.shape[0])["holds"]
    return held.at[holds].set(logits, mode="drop")


def take(
    held: Float[Array, "slots V"], vector: Int32[Array, "n"], *, num_logits: int
) -> Float[Array, "R V"]:
    """Logits that were held; of entries that draw nothing, any."""
    return held.at[unpack_sample(vector, num_logits)["holds"]].get(mode="clip")


def only_allowed(logits: Float[Array, "R V"], masks: Int32[Array, "R W"]) -> Float[Array, "R V"]:
    """Minus infinity where bit v % 32 of word v // 32 is not set."""
    R, V = logits.shape
    bits = (masks[:, :, None] >> jnp.arange(32)[None, None]) & 1
    return jnp.where(bits.reshape(R, -1)[:, :V] == 1, logits, -jnp.inf)


def logprobs_of(raw_logits: Float[Array, "R V"], tokens: Int32[Array, "R"]) -> Logprobs:
    """Logprobs of tokens, and the likeliest: of the raw logits, without biases and penalties."""
    logprobs = jax.nn.log_softmax(raw_logits, axis=-1)
    of_token = jnp.take_along_axis(logprobs, jnp.maximum(tokens, 0)[:, None], axis=-1)[:, 0]
    top, ids = lax.top_k(logprobs, min(MAX_TOP_LOGPROBS, logprobs.shape[-1]))
    return Logprobs(of_token, ids.astype(jnp.int32), top)


def _likeliest(logits: Float[Array, "R V"]) -> Int32[Array, "R"]:
    best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    is_sound = jnp.isfinite(jnp.take_along_axis(logits, best[:, None], axis=-1)[:, 0])
    return jnp.where(is_sound, best, -1)


def _keep(
    last_tokens: Int32[Array, "slots"], slots: Int32[Array, "R"], tokens: Int32[Array, "R"]
) -> Int32[Array, "slots"]:
    return last_tokens.at[slots].set(jnp.maximum(tokens, 0), mode="drop")


def _draw(
    logits: Float[Array, "R V"], seen: Int16[Array, "slots V"], draws: Draws, placement: Placement
) -> Int32[Array, "R"]:
    """Every device has all logits, and draws the same."""
    whole = PartitionSpec()
    return jax.shard_map(
        functools.partial(draw_tokens, implementation=placement.kernels),
        mesh=placement.mesh,
        in_specs=whole,
        out_specs=whole,
        check_vma=False,
    )(logits, seen, draws)


def _count(
    seen: Int16[Array, "slots V"], slots: Int32[Array, "R"], tokens: Int32[Array, "R"]
) -> Int16[Array, "slots V"]:
    """Counts the drawn tokens in `seen`; counts stop growing at 16,382."""
    at = jnp.maximum(tokens, 0)
    old = seen.at[slots, at].get(mode="clip")  # Past the end, what is read is dropped below.
    new = jnp.where((old >> 1) < _MAX_COUNT, old + jnp.int16(2), old)
    return seen.at[slots, at].set(new, mode="drop")


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

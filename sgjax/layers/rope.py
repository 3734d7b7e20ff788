"""Rotary position embeddings, and the ways to stretch them over a longer context.

https://arxiv.org/abs/2104.09864; YaRN: https://arxiv.org/abs/2309.00071; LongRoPE:
https://arxiv.org/abs/2402.13753; "llama3" came with Llama 3.1; "dynamic" is the NTK-aware scaling
whose base grows with the text.
"""

import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32


@dataclasses.dataclass(frozen=True)
class RopeConfig:
    """Rotary embedding: its base, and how its frequencies are scaled (`kind` is HF's rope_type)."""

    theta: float = 10000.0
    kind: str = "default"
    params: tuple[tuple[str, Any], ...] = ()
    """The scaling's own numbers (factor, low_freq_factor, …), sorted by name."""
    fraction: float = 1.0
    """The share of a head's features that is rotated: the first ones."""

    def num_turned(self, head_size: int) -> int:
        """How many features of a head are rotated."""
        return int(head_size * self.fraction)

    def serving(self, context_length: int) -> "RopeConfig":
        """The same for requests of this length, where that makes a difference."""
        if self.kind != "longrope":
            return self
        params = dict(self.params) | {"served_context": context_length}
        return dataclasses.replace(self, params=tuple(sorted(params.items())))

    def param(self, name: str, default: Any = None) -> Any:
        return dict(self.params).get(name, default)


def angles(
    rope: RopeConfig | None, head_size: int, positions: Int32[Array, "T"]
) -> tuple[Float[Array, "T half"], Float[Array, "T half"]]:
    """The cosines and sines for tokens at these positions, in float32; None turns nothing."""
    place = positions.astype(jnp.float32)[:, None]
    if rope is None:
        shape = (len(positions), head_size // 2)
        return jnp.ones(shape, jnp.float32), jnp.zeros(shape, jnp.float32)
    if rope.kind == "dynamic":
        turns = place * _dynamic_frequencies(rope, rope.num_turned(head_size), place)
    else:
        turns = place * frequencies(rope, head_size)[None]
    factor = attention_factor(rope)
    return jnp.cos(turns) * factor, jnp.sin(turns) * factor


@functools.cache
def frequencies(rope: RopeConfig, head_size: int) -> np.ndarray:
    """Radians that a token turns each pair of features further than the one before: f32[half]."""
    dim = rope.num_turned(head_size)
    plain = rope.theta ** -(np.arange(0, dim, 2, dtype=np.float64) / dim)
    return _SCALED[rope.kind](rope, plain).astype(np.float32)


def attention_factor(rope: RopeConfig) -> float:
    """What cosines and sines are multiplied by: 1 but for YaRN and LongRoPE."""
    if rope.kind not in ("yarn", "longrope"):
        return 1.0
    given = rope.param("attention_factor")
    if given is not None:
        return float(given)
    factor = rope.param("factor")
    if rope.kind == "longrope":
        original = rope.param("original_max_position_embeddings")
        return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    mscale, all_dim = rope.param("mscale"), rope.param("mscale_all_dim")
    if mscale and all_dim:
        return _mscale(factor, mscale) / _mscale(factor, all_dim)
    return _mscale(factor, 1.0)


def score_factor(rope: RopeConfig) -> float:
    """What scores are multiplied by: 1 but for YaRN as DeepSeek has it, whose rotation leaves to
    scores what it does not do itself. https://arxiv.org/abs/2405.04434"""
    all_dim = rope.param("mscale_all_dim") if rope.kind == "yarn" else None
    return _mscale(rope.param("factor"), all_dim) ** 2 if all_dim else 1.0


def _mscale(factor: int | float, mscale: int | float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _plain(rope: RopeConfig, plain: np.ndarray) -> np.ndarray:
    return plain


def _linear(rope: RopeConfig, plain: np.ndarray) -> np.ndarray:
    return plain / rope.param("factor")


def _llama3(rope: RopeConfig, plain: np.ndarray) -> np.ndarray:
    """Divides slow frequencies, keeps fast ones, and goes smoothly over in between."""
    low, high = rope.param("low_freq_factor"), rope.param("high_freq_factor")
    turns = rope.param("original_max_position_embeddings") * plain / (2 * math.pi)
    kept = np.clip((turns - low) / max(high - low, 1e-9), 0, 1)
    return (1 - kept) * plain / rope.param("factor") + kept * plain


def _yarn(rope: RopeConfig, plain: np.ndarray) -> np.ndarray:
    """Keeps features that turn often in the original context, divides those that hardly do."""
    dim = 2 * len(plain)
    original = rope.param("original_max_position_embeddings")

    def feature_that_turns(times: float) -> float:
        return dim * math.log(original / (times * 2 * math.pi)) / (2 * math.log(rope.theta))

    low = feature_that_turns(float(rope.param("beta_fast", 32)))
    high = feature_that_turns(float(rope.param("beta_slow", 1)))
    if rope.param("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = (np.arange(len(plain)) - low) / (high - low if high != low else 0.001)
    divided = np.clip(ramp, 0, 1)
    return plain / rope.param("factor") * divided + plain * (1 - divided)


def _longrope(rope: RopeConfig, plain: np.ndarray) -> np.ndarray:
    """Divides each frequency by a number of its own. One set is for texts within the original
    context, one for longer ones; a model that is served for longer ones takes that for all, since
    keys in the cache keep the rotation they were written with."""
    served = rope.param("served_context", math.inf)
    is_long = served > rope.param("original_max_position_embeddings")
    return plain / np.array(rope.param("long_factor" if is_long else "short_factor"))


def _dynamic_frequencies(
    rope: RopeConfig, dim: int, place: Float[Array, "T 1"]
) -> Float[Array, "T half"]:
    """Frequencies of a base that grows with the token's own position past the original context.

    The base of a token depends on its position alone: never on how long the text (or another row of
    the batch) is by now, since keys in the cache keep the rotation they were written with. This is
    what one gets from the usual definition (base by current length) token by token.
    """
    factor, original = rope.param("factor"), rope.param("original_max_position_embeddings")
    length = jnp.maximum(place + 1, original)
    growth = factor * length / original - (factor - 1)
    share = np.arange(0, dim, 2, dtype=np.float64)
    plain = (rope.theta ** -(share / dim)).astype(np.float32)
    slower = (share / (dim - 2)).astype(np.float32)
    return jnp.asarray(plain)[None] * jnp.exp(-jnp.log(growth) * slower[None])


_SCALED = {
    "default": _plain,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
KINDS = (*_SCALED, "dynamic")

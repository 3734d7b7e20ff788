"""Activation functions by name, of float32, for kernels and for plain JAX."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

Activation = Literal["silu", "gelu", "gelu_tanh", "relu2"]
Gating = Activation | Literal["clamped_silu"]
"""How a gate opens: an activation of it is multiplied with the other part; or as GPT-OSS does."""

_STEEPNESS, _LIMIT = 1.702, 7.0


def _gelu(x):
    """https://arxiv.org/abs/1606.08415"""
    return 0.5 * x * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))


def _gelu_tanh(x):
    return 0.5 * x * (1.0 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def _relu2(x):
    """https://arxiv.org/abs/2109.08668"""
    return jnp.square(jnp.maximum(x, 0.0))


_FUNCTIONS: dict[Activation, Callable[[Any], Any]] = {
    "silu": jax.nn.silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu2": _relu2,
}


def activate(x, name: Activation):
    """In float32, then rounded to the dtype of x."""
    return _FUNCTIONS[name](x.astype(jnp.float32)).astype(x.dtype)


def gated(gate, up, name: Gating):
    """What a gate leaves of `up`; activations in float32, rounded to the dtype of both.

    clamped_silu: of gate up to 7 and up within [-7, 7], gate * sigmoid(1.702 * gate) * (up + 1), in
    float32 and rounded once. https://arxiv.org/abs/2508.10925
    """
    if name != "clamped_silu":
        return activate(gate, name) * up
    wide = jnp.minimum(gate.astype(jnp.float32), _LIMIT)
    other = jnp.clip(up.astype(jnp.float32), -_LIMIT, _LIMIT)
    return (wide * jax.nn.sigmoid(_STEEPNESS * wide) * (other + 1.0)).astype(up.dtype)

"""Activation functions by name, of float32, for kernels and for plain JAX."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

Activation = Literal["silu", "gelu", "gelu_tanh", "relu2", "tanh"]


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
    "tanh": jnp.tanh,
}


def activate(x, name: Activation):
    """In float32, then rounded to the dtype of x."""
    return _FUNCTIONS[name](x.astype(jnp.float32)).astype(x.dtype)

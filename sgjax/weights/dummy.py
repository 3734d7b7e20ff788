"""Random weights, made on the devices: as good as a checkpoint for measuring speed."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, UInt32

STD = 0.02


def random_weight(
    shape: tuple[int, ...], dtype: Any, place: NamedSharding, *, seed: int, ones: bool = False
) -> jax.Array:
    """A weight drawn evenly with standard deviation 0.02 (or all ones), split as `place` says.

    The same for one seed, whatever the number of devices.
    """
    if ones:
        return jnp.ones(shape, dtype, device=place)
    return _program(shape, jnp.dtype(dtype), place)(jnp.uint32(seed))


@functools.cache
def _program(shape: tuple[int, ...], dtype: Any, place: NamedSharding) -> Any:
    """One program a shape: a hash of each entry's index, which needs no memory but the result."""

    def draw(seed: UInt32[Array, ""]) -> Float[Array, "..."]:
        index = jnp.zeros(shape, jnp.uint32)
        for axis in range(len(shape)):
            stride = jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
            index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
        unit = _hash(index ^ _hash(seed + jnp.uint32(1))).astype(jnp.float32) / 2.0**31 - 1.0
        return (unit * (STD * math.sqrt(3))).astype(dtype)

    return jax.jit(draw, out_shardings=place)


def _hash(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Stirs 32 bits: the finaliser of MurmurHash3."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return x ^ (x >> 16)

"""The definition, for any platform."""

import jax
import jax.numpy as jnp


def add_rms_norm(x, delta, scale, *, eps):
    """The contract."""
    total = x if delta is None else x + delta
    return total, rms_norm(total, scale, eps=eps)


def rms_norm(x, scale, *, eps):
    """x over the root of its mean square (last axis): in float32, cast to the scale's dtype, then
    scaled, and cast back."""
    wide = x.astype(jnp.float32)
    mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    normed = (wide * jax.lax.rsqrt(mean + eps)).astype(scale.dtype)
    return (normed * jnp.broadcast_to(scale, x.shape)).astype(x.dtype)

"""The definition, for any platform."""

import jax.numpy as jnp

from sgjax.kernels_pallas.add_rms_norm.reference import rms_norm


def rotate_and_write(qkv, cos, sin, k, v, slots, *, norms, eps):
    """The contract."""
    queries, keys, values = qkv[:, :, :-2], qkv[:, :, -2], qkv[:, :, -1]
    if norms is not None:
        queries, keys = rms_norm(queries, norms[0], eps=eps), rms_norm(keys, norms[1], eps=eps)
    keys = rotate(keys, cos, sin)
    k = k.at[slots].set(keys.astype(k.dtype), mode="drop")
    v = v.at[slots].set(values.astype(v.dtype), mode="drop")
    return rotate(queries, cos, sin), k, v


def rotate(x, cos, sin):
    """Turns feature i of x [T, ..., H] with feature i + half, of the first 2 * half."""
    half = cos.shape[-1]
    shape = (x.shape[0], *[1] * (x.ndim - 2), half)
    cos, sin = cos.reshape(shape), sin.reshape(shape)
    wide = x.astype(jnp.float32)
    first, second = wide[..., :half], wide[..., half : 2 * half]
    turned = [first * cos - second * sin, second * cos + first * sin, wide[..., 2 * half :]]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)

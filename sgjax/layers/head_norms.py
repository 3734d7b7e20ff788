"""Norms of query and key heads, before RoPE: those that attention's own kernel does not know.

They see all heads of a token, [T, K, G, H]; keys have G = 1.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sgjax.layers.norm import standardised
from sgjax.layers.weight import Weight


class AllHeadsRMSNorm(nnx.Module):
    """The RMS norm of all heads together, as one vector. (OLMo 2, OLMoE)"""

    def __init__(self, num_kv_heads: int, group_size: int, head_size: int, eps: float):
        self.eps = eps
        self.scale = Weight((num_kv_heads, group_size, head_size), "K G H")

    def __call__(self, heads: Float[Array, "T K G H"]) -> Float[Array, "T K G H"]:
        wide = heads.astype(jnp.float32)
        mean = jnp.mean(jnp.square(wide), axis=(1, 2, 3), keepdims=True)
        normed = (wide * jax.lax.rsqrt(mean + self.eps)).astype(heads.dtype)
        return normed * self.scale[...][None]


class HeadLayerNorm(nnx.Module):
    """A LayerNorm of each head by itself, each with its own scale. (Command-R+, StableLM 2 12B)"""

    def __init__(self, num_kv_heads: int, group_size: int, head_size: int, eps: float):
        self.eps = eps
        self.scale = Weight((num_kv_heads, group_size, head_size), "K G H")

    def __call__(self, heads: Float[Array, "T K G H"]) -> Float[Array, "T K G H"]:
        normed = standardised(heads, self.eps) * self.scale[...].astype(jnp.float32)[None]
        return normed.astype(heads.dtype)


class PlainHeadNorm(nnx.Module):
    """Each head over the root of its mean square. It has no scale, so that it makes no difference
    whether RoPE comes before or after. (Llama 4)"""

    def __init__(self, eps: float):
        self.eps = eps

    def __call__(self, heads: Float[Array, "T K G H"]) -> Float[Array, "T K G H"]:
        wide = heads.astype(jnp.float32)
        mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        return (wide * jax.lax.rsqrt(mean + self.eps)).astype(heads.dtype)

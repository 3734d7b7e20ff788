"""Root-mean-square normalisation. https://arxiv.org/abs/1910.07467"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sgjax.layers.weight import Weight


class RMSNorm(nnx.Module):
    """Divides by the root mean square over the last axis: in float32, cast back, then scaled."""

    def __init__(self, size: int, eps: float, *, axis: str = "D"):
        self.eps = eps
        self.scale = Weight((size,), axis)

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        wide = x.astype(jnp.float32)
        mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = (wide * jax.lax.rsqrt(mean + self.eps)).astype(x.dtype)
        return normed * jnp.broadcast_to(self.scale[...], x.shape)

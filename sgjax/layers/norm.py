"""Norms: what stands before a linear map, or after one.

A norm before a linear map is applied by the operation that reads the result, since few tokens pass
both in one kernel (`Einsum.after`). `after_add` applies one by itself: to a sum, so that what came
before need not have been added up.
"""

import functools
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from sgjax.kernels_pallas.add_rms_norm import add_rms_norm
from sgjax.kernels_pallas.add_rms_norm.reference import rms_norm
from sgjax.layers.weight import Weight
from sgjax.sharding.mesh import Placement

_MANY_TOKENS = 1024


@runtime_checkable
class Norm(Protocol):
    """Of the last axis, by each token for itself."""

    def __call__(self, x: Float[Array, "T D"]) -> Float[Array, "T D"]: ...

    def after_add(
        self, x: Float[Array, "T D"], delta: Float[Array, "T D"], placement: Placement
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        """x + delta, and its norm."""
        ...


class RMSNorm(nnx.Module):
    """What divides by the root mean square of the last axis, and scales.

    `wide`: the scale is float32 and is applied before the result is rounded, as Gemma does; else
    after it, as Llama does. https://arxiv.org/abs/1910.07467
    """

    def __init__(self, size: int, eps: float, *, axis: str = "D", wide: bool = False):
        self.eps = eps
        self.scale = Weight((size,), axis, dtype="float32" if wide else None)

    def __call__(self, x: Float[Array, "T D"]) -> Float[Array, "T D"]:
        return rms_norm(x, self.scale[...], eps=self.eps)

    def after_add(
        self, x: Float[Array, "T D"], delta: Float[Array, "T D"], placement: Placement
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        whole = PartitionSpec()
        x, summand = sum_apart(x, delta, placement)
        add = functools.partial(add_rms_norm, eps=self.eps, implementation=placement.kernels)
        return jax.shard_map(
            add,
            mesh=placement.mesh,
            in_specs=(whole, whole, whole),
            out_specs=(whole, whole),
            check_vma=False,
        )(x, summand, self.scale[...])


class LayerNorm(nnx.Module):
    """What subtracts the mean of the last axis, divides by its standard deviation, and scales; in
    float32, rounded once. https://arxiv.org/abs/1607.06450"""

    def __init__(self, size: int, eps: float, *, bias: bool = False):
        self.eps = eps
        self.scale = Weight((size,), "D")
        self.bias = Weight((size,), "D") if bias else None

    def __call__(self, x: Float[Array, "T D"]) -> Float[Array, "T D"]:
        y = standardised(x, self.eps) * _wide(self.scale, x.ndim)
        if self.bias is not None:
            y += _wide(self.bias, x.ndim)
        return y.astype(x.dtype)

    def after_add(
        self, x: Float[Array, "T D"], delta: Float[Array, "T D"], placement: Placement
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        x = x + delta
        return x, self(x)


class NoNorm(nnx.Module):
    """For families that norm what a layer gives, and not what it takes."""

    def __call__(self, x: Float[Array, "T D"]) -> Float[Array, "T D"]:
        return x

    def after_add(
        self, x: Float[Array, "T D"], delta: Float[Array, "T D"], placement: Placement
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        x = x + delta
        return x, x


def sum_apart(
    x: Float[Array, "T D"], delta: Float[Array, "T D"], placement: Placement
) -> tuple[Float[Array, "T D"], Float[Array, "T D"] | None]:
    """x + delta and None, where XLA adds for less than a norm does: of many tokens, in the product
    that gives delta, as it writes. (One H200, 8,192 tokens: a step takes 1 % less.) With several
    devices it is not a product that gives delta, but their sum."""
    if x.shape[0] < _MANY_TOKENS or placement.mesh.size > 1:
        return x, delta
    return x + delta, None


def standardised(x: Float[Array, "..."], eps: float) -> Float[Array, "..."]:
    """Less the mean of the last axis, and over its standard deviation; float32."""
    x = x.astype(jnp.float32)
    x -= x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + eps)


def _wide(weight: Weight, ndim: int) -> Array:
    value = weight[...].astype(jnp.float32)
    return value.reshape((1,) * (ndim - value.ndim) + value.shape)

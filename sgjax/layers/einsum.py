"""Linear maps, named by the axes they take and give."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from sgjax.kernels_pallas.activations import Activation
from sgjax.kernels_pallas.product import Form, compiles_apart, normed_product, product
from sgjax.layers.norm import Norm, RMSNorm, sum_apart
from sgjax.layers.weight import Part, Weight
from sgjax.sharding.mesh import Placement
from sgjax.sharding.rules import mesh_axes, sharding, spec


class Einsum(nnx.Module):
    """A linear map, written "D -> K G H": the last axes of x, and what replaces them.

    Its weight has the axes of both sides, in their order. However many there are, the product is of
    two matrices as they lie in memory, one of them the weight: no weights are copied.

    Several projections of one input may be fused along one axis of the output: `parts` names them,
    ("q", "k", "v"), with the size of each. A checkpoint (or an adapter) addresses them by name.
    `gated` names an activation, and says that the first given axis is of two: the activation of the
    first is multiplied with the second, and the axis is gone.
    """

    def __init__(
        self,
        axes: str,
        sizes: Mapping[str, int],
        *,
        bias: bool = False,
        part_axis: str = "",
        parts: Mapping[str, int] | None = None,
        gated: Activation | None = None,
    ):
        self.taken, self.given = (side.strip() for side in axes.split("->"))
        self.form: Form = "gated" if gated else "plain"
        self.activation: Activation = gated or "silu"
        self.weight = _weight(f"{self.taken} {self.given}", sizes, part_axis, parts or {})
        self.bias = _weight(self.given, sizes, part_axis, parts or {}) if bias else None

    def __call__(self, x: Float[Array, "T ..."], placement: Placement) -> Float[Array, "T ..."]:
        """The map of every token of x. Devices that share a taken axis add up what they have."""
        summed = mesh_axes(self.taken)
        multiply_two = self._bound(product, placement)

        def multiply(x: Array, weight: Array, bias: Array | None) -> Array:
            x = x.reshape(x.shape[0], -1)
            weight = weight.reshape(x.shape[1], *weight.shape[len(self.taken.split()) :])
            if not summed:
                return multiply_two(x, weight, bias)
            y = multiply_two(x, weight)
            y = jax.lax.psum(y, summed)
            return y if bias is None else y + jnp.broadcast_to(bias, y.shape)

        return jax.shard_map(
            multiply,
            mesh=placement.mesh,
            in_specs=(spec(f"T {self.taken}"), *self._specs),
            out_specs=self._out_spec,
            check_vma=False,
        )(x, *self._values)

    def after(
        self,
        norm: Norm,
        x: Float[Array, "T D"],
        delta: Float[Array, "T D"],
        placement: Placement,
    ) -> tuple[Float[Array, "T D"], Float[Array, "T ..."]]:
        """x + delta, and the map of its norm. Every device adds and norms the same."""
        if not isinstance(norm, RMSNorm):
            x, normed = norm.after_add(x, delta, placement)
            return x, self(normed, placement)
        x, summand = sum_apart(x, delta, placement)
        multiply = functools.partial(self._bound(normed_product, placement), eps=norm.eps)
        whole = PartitionSpec()
        return jax.shard_map(
            multiply,
            mesh=placement.mesh,
            in_specs=(whole, whole, whole, *self._specs),
            out_specs=(whole, self._out_spec),
            check_vma=False,
        )(x, summand, norm.scale[...], *self._values)

    def compiles_apart(self, num_tokens: int, placement: Placement) -> bool:
        """Whether the product of so many tokens is one that is compiled by itself."""
        axes, num_taken = f"{self.taken} {self.given}", len(self.taken.split())
        of_device = sharding(placement.mesh, axes).shard_shape(self.weight.shape)
        K, dtype = math.prod(of_device[:num_taken]), self.weight.dtype
        x = jax.ShapeDtypeStruct((num_tokens, K), dtype)
        weight = jax.ShapeDtypeStruct((K, *of_device[num_taken:]), dtype)
        bias = None if self.bias is None else jax.ShapeDtypeStruct(self.bias.shape, dtype)
        return self._bound(compiles_apart, placement)(x, weight, bias)

    def _bound(self, operation: Callable[..., Any], placement: Placement) -> Callable[..., Any]:
        return functools.partial(
            operation,
            form=self.form,
            activation=self.activation,
            implementation=placement.kernels,
        )

    @property
    def _values(self) -> tuple[Array, Array | None]:
        return self.weight[...], None if self.bias is None else self.bias[...]

    @property
    def _specs(self) -> tuple[PartitionSpec, PartitionSpec]:
        """Of weight and bias."""
        return spec(f"{self.taken} {self.given}"), spec(self.given)

    @property
    def _out_spec(self) -> PartitionSpec:
        given = self.given.split()
        return spec(" ".join(["T", *given[1 if self.form == "gated" else 0 :]]))


def _weight(
    axes: str, sizes: Mapping[str, int], part_axis: str, parts: Mapping[str, int]
) -> Weight:
    names = axes.split()
    shape = tuple(int(axis) if axis.isdigit() else sizes[axis] for axis in names)
    placed, start = {}, 0
    for name, size in parts.items():
        placed[name] = Part(names.index(part_axis), start, start + size)
        start += size
    return Weight(shape, axes, placed)

"""Linear maps, named by the axes they take and give."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sgjax.layers.weight import Part, Weight


class Einsum(nnx.Module):
    """A linear map, written "D -> K G H": the last axes of x, and what replaces them.

    Its weight has the axes of both sides, in their order. However many there are, the product is of
    two matrices as they lie in memory, one of them the weight: XLA then copies no weights.

    Several projections of one input may be fused along one axis of the output: `parts` names them,
    ("q", "k", "v"), with the size of each. A checkpoint (or an adapter) addresses them by name.
    """

    def __init__(
        self,
        axes: str,
        sizes: Mapping[str, int],
        *,
        bias: bool = False,
        part_axis: str = "",
        parts: Mapping[str, int] | None = None,
    ):
        taken, given = (side.split() for side in axes.split("->"))
        self.num_taken = len(taken)
        self.weight = _weight([*taken, *given], sizes, part_axis, parts or {})
        self.bias = _weight(given, sizes, part_axis, parts or {}) if bias else None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        y = product(x, self.weight[...], self.num_taken)
        return y if self.bias is None else y + jnp.broadcast_to(self.bias[...], y.shape)


def product(
    x: Float[Array, "..."],
    weight: Float[Array, "..."],
    num_taken: int = 1,
) -> Float[Array, "..."]:
    """x times weight over x's last and weight's first `num_taken` axes.

    Sums are float32 on every platform (float32 operands are not rounded to TF32); the result has
    x's dtype.
    """
    rows = x.shape[: x.ndim - num_taken]
    width = math.prod(weight.shape[:num_taken])
    exact = x.dtype == jnp.float32
    y = jax.lax.dot_general(
        x.reshape(-1, width),
        weight.reshape(width, *weight.shape[num_taken:]),
        (((1,), (0,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST if exact else None,
        preferred_element_type=x.dtype,
    )
    return y.reshape(*rows, *weight.shape[num_taken:])


def _weight(
    axes: list[str], sizes: Mapping[str, int], part_axis: str, parts: Mapping[str, int]
) -> Weight:
    shape = tuple(int(axis) if axis.isdigit() else sizes[axis] for axis in axes)
    placed, start = {}, 0
    for name, size in parts.items():
        placed[name] = Part(axes.index(part_axis), start, start + size)
        start += size
    return Weight(shape, " ".join(axes), placed)

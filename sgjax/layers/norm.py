"""Root-mean-square normalisation. https://arxiv.org/abs/1910.07467"""

import functools

import jax
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from sgjax.kernels_pallas.add_rms_norm import add_rms_norm
from sgjax.layers.weight import Weight
from sgjax.sharding.mesh import Placement


class RMSNorm(nnx.Module):
    """Adds to the residual stream, and divides by the root mean square of the sum's last axis."""

    def __init__(self, size: int, eps: float, *, axis: str = "D"):
        self.eps = eps
        self.scale = Weight((size,), axis)

    def __call__(
        self, x: Float[Array, "T D"], delta: Float[Array, "T D"], placement: Placement
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        """x + delta, and its norm, in one pass over memory. Every device does the same.

        The norm is computed in float32, cast back, then scaled.
        """
        whole = PartitionSpec()
        return jax.shard_map(
            functools.partial(add_rms_norm, eps=self.eps, implementation=placement.kernels),
            mesh=placement.mesh,
            in_specs=whole,
            out_specs=whole,
            check_vma=False,
        )(x, delta, self.scale[...])

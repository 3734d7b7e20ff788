"""The dense feed-forward layer."""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.layers.einsum import Einsum
from sgjax.layers.norm import RMSNorm
from sgjax.sharding.mesh import Placement


class GatedMLP(nnx.Module):
    """silu(x · gate) * (x · up) · down, with gate and up fused. https://arxiv.org/abs/2002.05202"""

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False):
        sizes = {"D": d_model, "F": d_ff}
        parts = {"gate": 1, "up": 1}
        self.gate_up = Einsum("D -> 2 F", sizes, bias=bias, part_axis="2", parts=parts, gated=True)
        self.down = Einsum("F -> D", sizes, bias=bias)

    def __call__(
        self,
        norm: RMSNorm,
        x: Float[Array, "T D"],
        delta: Float[Array, "T D"],
        placement: Placement,
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        """x + delta, and what the layer makes of its norm."""
        x, hidden = self.gate_up.after(norm, x, delta, placement)
        return x, self.down(hidden, placement)

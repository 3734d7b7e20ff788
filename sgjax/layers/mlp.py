"""The dense feed-forward layers."""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.kernels_pallas.activations import Activation, activate
from sgjax.layers.einsum import Einsum
from sgjax.layers.inputs import StepInputs
from sgjax.layers.norm import Norm
from sgjax.sharding.mesh import Placement


class GatedMLP(nnx.Module):
    """act(x · gate) * (x · up) · down, with gate and up fused. https://arxiv.org/abs/2002.05202"""

    def __init__(
        self, d_model: int, d_ff: int, *, bias: bool = False, activation: Activation = "silu"
    ):
        sizes = {"D": d_model, "F": d_ff}
        parts = {"gate": 1, "up": 1}
        self.gate_up = Einsum(
            "D -> 2 F", sizes, bias=bias, part_axis="2", parts=parts, gated=activation
        )
        self.down = Einsum("F -> D", sizes, bias=bias)

    def __call__(
        self,
        norm: Norm,
        x: Float[Array, "T D"],
        delta: Float[Array, "T D"],
        step: StepInputs,
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        """x + delta, and what the layer makes of its norm."""
        x, hidden = self.gate_up.after(norm, x, delta, step.placement)
        return x, self.down(hidden, step.placement)

    def of(self, x: Float[Array, "T D"], step: StepInputs) -> Float[Array, "T D"]:
        """What the layer makes of x as it is."""
        return self.down(self.gate_up(x, step.placement), step.placement)


class MLP(nnx.Module):
    """act(x · up) · down."""

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False, activation: Activation):
        sizes = {"D": d_model, "F": d_ff}
        self.up = Einsum("D -> F", sizes, bias=bias)
        self.down = Einsum("F -> D", sizes, bias=bias)
        self.activation: Activation = activation

    def __call__(
        self,
        norm: Norm,
        x: Float[Array, "T D"],
        delta: Float[Array, "T D"],
        step: StepInputs,
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        """x + delta, and what the layer makes of its norm."""
        x, hidden = self.up.after(norm, x, delta, step.placement)
        return x, self._down(hidden, step.placement)

    def of(self, x: Float[Array, "T D"], step: StepInputs) -> Float[Array, "T D"]:
        """What the layer makes of x as it is."""
        return self._down(self.up(x, step.placement), step.placement)

    def _down(self, hidden: Float[Array, "T F"], placement: Placement) -> Float[Array, "T D"]:
        return self.down(activate(hidden, self.activation), placement)

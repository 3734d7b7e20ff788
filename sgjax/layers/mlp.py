"""The dense feed-forward layer."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sgjax.layers.einsum import Einsum


class GatedMLP(nnx.Module):
    """silu(x · gate) * (x · up) · down, with gate and up fused. https://arxiv.org/abs/2002.05202"""

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False):
        sizes = {"D": d_model, "F": d_ff}
        parts = {"gate": 1, "up": 1}
        self.gate_up = Einsum("D -> 2 F", sizes, bias=bias, part_axis="2", parts=parts)
        self.down = Einsum("F -> D", sizes, bias=bias)

    def __call__(self, x: Float[Array, "T D"]) -> Float[Array, "T D"]:
        gate, up = jnp.moveaxis(self.gate_up(x), -2, 0)
        gate = jax.nn.silu(gate.astype(jnp.float32)).astype(x.dtype)
        return self.down(gate * up)

"""What each token's experts make of it, weighed and added up: the contract."""

from typing import NamedTuple

from jaxtyping import Array, Float, Float32, Int32

from sgjax.kernels_pallas.activations import Gating
from sgjax.kernels_pallas.dispatch import implementation_of


class Experts(NamedTuple):
    """Gated feed-forward layers, one an expert: gate and up side by side, and down."""

    gate_up: Float[Array, "E D 2 X"]
    down: Float[Array, "E X D"]
    gate_up_bias: Float[Array, "E 2 X"] | None = None
    down_bias: Float[Array, "E D"] | None = None


def mixture_of_experts(
    x: Float[Array, "T D"],
    ids: Int32[Array, "T k"],
    weights: Float32[Array, "T k"],
    experts: Experts,
    *,
    activation: Gating = "silu",
    implementation: str | None = None,
) -> Float[Array, "T D"]:
    """The sum of what the experts `ids` of a token make of it, each times its weight.

    Expert e makes gated(x · gate_up[e, :, 0], x · gate_up[e, :, 1]) · down[e]. An id outside of
    [0, E) is of an expert that is not here: it adds nothing, and takes no time. Products sum in
    float32. They are rounded to the dtype of x before a bias and the gate; what an expert makes,
    after its bias and its weight; and once more the sum over a token's experts, which is in float32
    and always in the same order. https://arxiv.org/abs/2101.03961
    """
    module = implementation_of(__name__, implementation)
    return module.mixture_of_experts(x, ids, weights, experts, activation=activation)

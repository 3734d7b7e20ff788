"""The sum of a residual stream and what is added to it, and its RMS norm: the contract."""

from jaxtyping import Array, Float

from sgjax.kernels_pallas.dispatch import implementation_of


def add_rms_norm(
    x: Float[Array, "T D"],
    delta: Float[Array, "T D"] | None,
    scale: Float[Array, "D"],
    *,
    eps: float,
    implementation: str | None = None,
) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
    """(x + delta, RMSNorm(x + delta)), in the dtype of x, to which the sum is rounded first;
    without delta, x and its norm.

    The norm is computed in float32, rounded to the dtype of `scale`, multiplied by it, and rounded
    to the dtype of x: with a scale of that dtype it is Llama's, with a float32 one Gemma's.
    https://arxiv.org/abs/1910.07467
    """
    module = implementation_of(__name__, implementation)
    return module.add_rms_norm(x, delta, scale, eps=eps)

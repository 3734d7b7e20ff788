"""Products of activations and a weight, also of what add and RMSNorm leave: the contract."""

from typing import Literal

import jax
from jaxtyping import Array, Float

from sgjax.kernels_pallas.activations import Activation
from sgjax.kernels_pallas.dispatch import implementation_of

Form = Literal["plain", "gated", "logits"]
"""What comes of rows x [T, K] and a weight w:

plain    w [K, ...]     x · w                               in the dtype of x
gated    w [K, 2, F]    act(x · w[:, 0]) * (x · w[:, 1])    in the dtype of x
logits   w [V, K]       x · wᵀ                              in float32
"""

MOST_ROWS = 4
"""Few rows, which Triton's kernel multiplies. For more XLA's products take less on an H200: a step
of a Llama of 8B takes 4.58 ms with ours and 4.40 with XLA's for 8 rows, 4.12 and 4.14 for one or
two, where a Qwen3 of 0.6B takes 0.93 and 1.58."""

LEAST_MANY = 1024
"""Rows from which on a gated product has a kernel of its own, on GPUs that it is tuned for."""


def product(
    x: Float[Array, "T K"],
    w: Float[Array, "..."],
    bias: Float[Array, "..."] | None = None,
    *,
    form: Form = "plain",
    activation: Activation = "silu",
    implementation: str | None = None,
) -> Float[Array, "T ..."]:
    """x times w, as `form` says.

    Sums are float32 on every platform (float32 operands are not rounded to TF32). They are rounded
    to the dtype of x; then `bias` is added, of the shape of w less its first axis (logits have
    none); then a gate, its activation in float32 and rounded, is multiplied. https://arxiv.org/abs/2002.05202
    """
    module = implementation_of(__name__, implementation)
    return module.product(x, w, bias, form=form, activation=activation)


def compiles_apart(
    x: jax.ShapeDtypeStruct,
    w: jax.ShapeDtypeStruct,
    bias: jax.ShapeDtypeStruct | None = None,
    *,
    form: Form = "plain",
    activation: Activation = "silu",
    implementation: str | None = None,
) -> bool:
    """Whether the `product` of such arrays is a kernel that Mosaic compiles: once in a process,
    whatever programs it is in."""
    module = implementation_of(__name__, implementation)
    return module.compiles_apart(x, w, bias, form=form, activation=activation)


def normed_product(
    x: Float[Array, "T K"],
    delta: Float[Array, "T K"] | None,
    scale: Float[Array, "K"],
    w: Float[Array, "..."],
    bias: Float[Array, "..."] | None = None,
    *,
    eps: float,
    form: Form = "plain",
    activation: Activation = "silu",
    implementation: str | None = None,
) -> tuple[Float[Array, "T K"], Float[Array, "T ..."]]:
    """x + delta, rounded to the dtype of x, and the `product` of its RMS norm with w; without
    delta, x and that of its own.

    The norm is that of `add_rms_norm`. Its factor, the same for a whole row, may be applied to the
    float32 sums instead: then only the product with `scale` is rounded before w is multiplied.
    """
    module = implementation_of(__name__, implementation)
    return module.normed_product(
        x, delta, scale, w, bias, eps=eps, form=form, activation=activation
    )

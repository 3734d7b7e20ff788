"""The definition, for any platform: XLA's products."""

import jax
import jax.numpy as jnp

from sgjax.kernels_pallas.activations import Activation, activate
from sgjax.kernels_pallas.add_rms_norm import reference as norm


def product(x, w, bias, *, form, activation: Activation = "silu"):
    """The contract."""
    y = jax.lax.dot_general(
        x,
        w,
        (((1,), (1 if form == "logits" else 0,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32 if form == "logits" else x.dtype,
    )
    if bias is not None:
        y = y + jnp.broadcast_to(bias, y.shape)
    return gated(y[:, 0], y[:, 1], activation) if form == "gated" else y


def compiles_apart(x, w, bias, *, form, activation: Activation = "silu") -> bool:
    """The contract: XLA compiles all of these."""
    return False


def normed_product(x, delta, scale, w, bias, *, eps, form, activation: Activation = "silu"):
    """The contract."""
    total, normed = norm.add_rms_norm(x, delta, scale, eps=eps)
    return total, product(normed, w, bias, form=form, activation=activation)


def gated(gate, up, activation: Activation):
    """The gate's activation, in float32 and rounded to the dtype of both, times up."""
    return activate(gate, activation) * up

"""The definition, for any platform: XLA's products."""

import jax
import jax.numpy as jnp

from sgjax.kernels_pallas.add_rms_norm import reference as norm


def product(x, w, bias, *, form):
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
    return gated(y[:, 0], y[:, 1]) if form == "gated" else y


def normed_product(x, delta, scale, w, bias, *, eps, form):
    """The contract."""
    total, normed = norm.add_rms_norm(x, delta, scale, eps=eps)
    return total, product(normed, w, bias, form=form)


def gated(gate, up):
    """silu(gate) * up: silu in float32, then rounded to the dtype of both."""
    return jax.nn.silu(gate.astype(jnp.float32)).astype(up.dtype) * up

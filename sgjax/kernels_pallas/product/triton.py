"""Products on NVIDIA GPUs: kernels of our own for few rows, XLA's products for more.

Few rows take as long as it takes to read the weight, and for small models, to launch what reads it.
So there is one kernel from the rows to the result: nothing is left to add up, to gate, or to norm.
"""

import jax.numpy as jnp

from sgjax.kernels_pallas.activations import Activation
from sgjax.kernels_pallas.add_rms_norm import triton as norm
from sgjax.kernels_pallas.block_sizes import device_kind
from sgjax.kernels_pallas.product import MOST_ROWS, mosaic_gated, reference, triton_few

_MOST_VALUES = 2**31 - 1
"""Of a weight: Triton kernels count them in 32 bits."""


def product(x, w, bias, *, form, activation: Activation = "silu", kind=None, interpret=False):
    """The contract. `kind` is the device's whose block sizes are taken; None: the one that JAX
    computes on. `interpret` runs the kernel in Pallas's interpreter, on any platform."""
    many = None if interpret else _sizes_of_many(x, w, bias, form, activation, kind)
    if many is not None:
        return mosaic_gated.product(x, w, activation=activation, sizes=many)
    if not _is_for_few(x, w):
        return reference.product(x, w, bias, form=form, activation=activation)
    how = {"form": form, "activation": activation, "interpret": interpret}
    return triton_few.product(x, w, bias, sizes=_sizes(w, form, kind), **how)


def compiles_apart(x, w, bias, *, form, activation: Activation = "silu", kind=None) -> bool:
    """The contract; as `product`."""
    return _sizes_of_many(x, w, bias, form, activation, kind) is not None


def normed_product(
    x,
    delta,
    scale,
    w,
    bias,
    *,
    eps,
    form,
    activation: Activation = "silu",
    kind=None,
    interpret=False,
):
    """The contract; as `product`."""
    how = {"form": form, "activation": activation, "interpret": interpret}
    # Before it is divided, what is scaled may be more than float16 can hold.
    if delta is None or x.dtype != jnp.bfloat16 or not _is_for_few(x, w):
        total, normed = norm.add_rms_norm(x, delta, scale, eps=eps, interpret=interpret)
        return total, product(normed, w, bias, kind=kind, **how)
    before = triton_few.Norm(delta, scale, eps)
    return triton_few.product(x, w, bias, before, sizes=_sizes(w, form, kind), **how)


def _is_for_few(x, w) -> bool:
    """Whether a kernel for few rows takes it. Float32 it leaves to XLA, with its exact products."""
    is_narrow = x.dtype == w.dtype and x.dtype in (jnp.bfloat16, jnp.float16)
    return is_narrow and x.shape[0] <= MOST_ROWS and w.size <= _MOST_VALUES


def _sizes_of_many(x, w, bias, form, activation, kind) -> mosaic_gated.Sizes | None:
    """Of the kernel for many rows, if it takes them."""
    if form != "gated" or bias is not None:
        return None
    row_bytes = w.shape[2] * w.dtype.itemsize
    found = mosaic_gated.sizes(row_bytes, kind or device_kind())
    return found if found and mosaic_gated.takes(x, w, found, activation) else None


def _sizes(w, form: str, kind: str | None) -> triton_few.Sizes:
    row_bytes = triton_few.num_columns(w, form) * w.dtype.itemsize
    return triton_few.sizes(form, row_bytes, kind or device_kind())

"""One program a token: what it reads stays in registers, so everything moves once."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.tiles import next_power_of_two

_VALUES_PER_WARP = 512


def add_rms_norm(x, delta, scale, *, eps, interpret=False):
    """The contract. `interpret` runs the kernel in Pallas's interpreter, on any platform."""
    T, D = x.shape
    width = next_power_of_two(D)
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    call = pl.pallas_call(
        functools.partial(_kernel, width=width, eps=eps),
        grid=(T,),
        out_shape=(shape,) if delta is None else (shape, shape),
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(
            num_warps=min(max(width // _VALUES_PER_WARP, 1), 16), num_stages=1
        ),
        name="rms_norm" if delta is None else "add_rms_norm",
    )
    *total, normed = call(x, delta, scale)
    return (total[0] if total else x), normed


def _kernel(x_ref, delta_ref, scale_ref, *refs, width, eps):
    # x, delta: [T, D]   scale: [D]   refs: normed [T, D]; with delta: total [T, D] before it
    token, D = pl.program_id(0), x_ref.shape[1]
    d = jnp.arange(width)
    own = d < D

    def load(index):
        return plgpu.load(index, mask=own, other=0)

    total = load(x_ref.at[token, d])
    if delta_ref is not None:
        total += load(delta_ref.at[token, d])
        plgpu.store(refs[0].at[token, d], total, mask=own)
    wide = total.astype(jnp.float32)
    normed = wide * lax.rsqrt(jnp.sum(wide * wide) / D + eps)
    normed = normed.astype(scale_ref.dtype) * load(scale_ref.at[d])
    plgpu.store(refs[-1].at[token, d], normed.astype(total.dtype), mask=own)

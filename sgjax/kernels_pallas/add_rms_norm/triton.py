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
    return tuple(
        pl.pallas_call(
            functools.partial(_kernel, width=width, eps=eps),
            grid=(T,),
            out_shape=(shape, shape),
            interpret=interpret,
            compiler_params=plgpu.CompilerParams(
                num_warps=min(max(width // _VALUES_PER_WARP, 1), 16), num_stages=1
            ),
            name="add_rms_norm",
        )(x, delta, scale)
    )


def _kernel(x_ref, delta_ref, scale_ref, total_ref, normed_ref, *, width, eps):
    # x, delta, total, normed: [T, D]   scale: [D]
    token, D = pl.program_id(0), x_ref.shape[1]
    d = jnp.arange(width)
    own = d < D

    def load(index):
        return plgpu.load(index, mask=own, other=0)

    total = load(x_ref.at[token, d]) + load(delta_ref.at[token, d])
    plgpu.store(total_ref.at[token, d], total, mask=own)
    wide = total.astype(jnp.float32)
    normed = wide * lax.rsqrt(jnp.sum(wide * wide) / D + eps)
    normed = normed.astype(scale_ref.dtype) * load(scale_ref.at[d])
    plgpu.store(normed_ref.at[token, d], normed.astype(total.dtype), mask=own)

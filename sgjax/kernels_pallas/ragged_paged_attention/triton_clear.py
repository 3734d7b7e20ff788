"""Zeros for the tokens of no row, of which there are few: a kernel that writes all others need not
find them zero."""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.kernels_pallas.tiles import next_power_of_two

TOKENS, COLUMNS = 16, 256
"""Of a tile."""


def clear(
    out: Float[Array, "T K G H"], rows: RaggedRows, *, interpret: bool
) -> Float[Array, "T K G H"]:
    """`out` as it is for the tokens of rows, in place, and zero for all others."""
    flat = out.reshape(out.shape[0], -1)
    inputs = (rows.starts, rows.num_tokens)
    return pl.pallas_call(
        _kernel,
        grid=(pl.cdiv(flat.shape[0], TOKENS),),
        out_shape=jax.ShapeDtypeStruct(flat.shape, flat.dtype),
        input_output_aliases={len(inputs): 0},
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=1),
        name="ragged_paged_attention_clear",
    )(*inputs, flat).reshape(out.shape)


def _kernel(starts_ref, num_tokens_ref, _, out_ref):
    # starts, num_tokens: i32[S]   out: [T, KGH]
    (S,), (T, width) = starts_ref.shape, out_ref.shape
    t = pl.program_id(0) * TOKENS + jnp.arange(TOKENS)
    s = jnp.arange(next_power_of_two(S))
    starts = plgpu.load(starts_ref.at[s], mask=s < S, other=0)
    ends = starts + plgpu.load(num_tokens_ref.at[s], mask=s < S, other=0)
    owners = (starts[None, :] <= t[:, None]) & (t[:, None] < ends[None, :])
    free = (jnp.sum(owners.astype(jnp.int32), axis=1) == 0) & (t < T)

    @pl.when(jnp.sum(free.astype(jnp.int32)) > 0)
    def _():
        zeros = jnp.zeros((TOKENS, COLUMNS), out_ref.dtype)

        def columns(i, _):
            at = (i * COLUMNS + jnp.arange(COLUMNS))[None, :]
            mask = free[:, None] & (at < width)
            plgpu.store(out_ref.at[t[:, None], at], zeros, mask=mask)

        jax.lax.fori_loop(0, pl.cdiv(width, COLUMNS), columns, None)

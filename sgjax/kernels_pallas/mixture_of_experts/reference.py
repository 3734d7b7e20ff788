"""The definition, for any platform: a loop over blocks of pairs of one expert.

Each block reads its expert's weights and no other's, and what experts without tokens have is never
read.
"""

import jax.numpy as jnp
from jax import lax

from sgjax.kernels_pallas.activations import gated
from sgjax.kernels_pallas.mixture_of_experts.plan import block_size, expert_blocks, sum_of_choices

_LEAST, _MOST = 4, 64
"""Pairs of a block."""


def mixture_of_experts(x, ids, weights, experts, *, activation):
    """The contract."""
    num_experts, _, D = experts.down.shape
    (T, k), M = ids.shape, block_size(ids.size, experts.down.shape[0], least=_LEAST, most=_MOST)
    if T * k == 0:
        return jnp.zeros_like(x)
    blocks = expert_blocks(ids, num_experts, M)
    order = jnp.pad(blocks.order, (0, M))  # a block may reach past the last pair
    weight = weights.reshape(-1)[order]

    def block(i, made):
        at = blocks.first[i]
        rows = x[lax.dynamic_slice_in_dim(order, at, M) // k]
        y = _one_expert(rows, experts, blocks.expert[i], activation)
        y = (y * lax.dynamic_slice_in_dim(weight, at, M)[:, None]).astype(made.dtype)
        # What it writes past its own pairs, the blocks after it write over.
        return lax.dynamic_update_slice_in_dim(made, y, at, 0)

    made = jnp.zeros((T * k + M, D), x.dtype)
    made = lax.fori_loop(0, jnp.sum(blocks.count > 0), block, made)
    made = jnp.zeros((T * k, D), x.dtype).at[blocks.order].set(made[: T * k])
    return sum_of_choices(made, ids, num_experts, x.dtype)


def _one_expert(rows, experts, i, activation):
    """f32[M, D]: what expert i makes of rows."""

    def own(array):
        return lax.dynamic_index_in_dim(array, i, keepdims=False)

    w = own(experts.gate_up)
    both = _product(rows, w.reshape(w.shape[0], -1)).astype(rows.dtype)
    both = both.reshape(-1, *w.shape[1:])
    if experts.gate_up_bias is not None:
        both = both + own(experts.gate_up_bias)[None]
    y = _product(gated(both[:, 0], both[:, 1], activation), own(experts.down))
    if experts.down_bias is not None:
        y = y + own(experts.down_bias).astype(jnp.float32)[None]
    return y


def _product(x, w):
    return lax.dot_general(
        x,
        w,
        (((1,), (0,)), ((), ())),
        precision=lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )

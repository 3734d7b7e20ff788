"""A few tokens, on NVIDIA GPUs: each with each of its experts is a product of a single row.

That takes as long as it takes to read the experts' weights, which few of the tokens share: so it is
cut as products of few rows are (`product/triton_few.py`), for each pair by itself.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.activations import gated
from sgjax.kernels_pallas.block_sizes import tuned_sizes
from sgjax.kernels_pallas.product.triton_few import sums_of
from sgjax.kernels_pallas.product.triton_tiles import Cut, Rows, Sizes, Weight

_DEFAULTS = {"gate_up": Sizes(columns=32, depth=128), "down": Sizes(columns=32, depth=256)}
"""Such that the stages fit any device's memory."""


def sizes(kernel: str, row_bytes: int, kind: str | None) -> Sizes:
    """For experts whose width takes so many bytes: tuned ones where the device has them."""
    tuned = tuned_sizes("mixture_of_experts", f"{kernel} 1", row_bytes, kind)
    return Sizes(**{**vars(_DEFAULTS[kernel]), **tuned})


def gate_up(x, ids, experts, *, sizes: Sizes, activation, interpret=False):
    """[pairs, X]: what the gate leaves of each token with each of its experts, i32[T, k]. For those
    that are not here nothing is written."""
    return _call(
        functools.partial(_gate_up, top=ids.shape[1], activation=activation, sizes=sizes),
        "mixture_of_experts_gate_up",
        jax.ShapeDtypeStruct((ids.size, experts.down.shape[1]), x.dtype),
        (x, ids.reshape(-1), experts.gate_up, experts.gate_up_bias),
        sizes,
        interpret,
    )


def multiply_down(hidden, ids, experts, weights, *, sizes: Sizes, interpret=False):
    """[pairs, D]: what its expert makes of each row of `hidden`, times its weight, f32[T, k]."""
    bias = None if experts.down_bias is None else experts.down_bias[:, None]
    return _call(
        functools.partial(_down, sizes=sizes),
        "mixture_of_experts_down",
        jax.ShapeDtypeStruct((ids.size, experts.down.shape[2]), hidden.dtype),
        (hidden, ids.reshape(-1), experts.down[:, :, None], bias, weights.reshape(-1)),
        sizes,
        interpret,
    )


def _call(kernel, name: str, result, arrays, sizes: Sizes, interpret: bool):
    """A program for each pair and each `sizes.columns` of the result's columns."""
    return pl.pallas_call(
        kernel,
        grid=(result.shape[0], pl.cdiv(result.shape[1], sizes.columns)),
        out_shape=result,
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages),
        name=name,
    )(*arrays)


def _gate_up(x_ref, ids_ref, w_ref, bias_ref, out_ref, *, top, activation, sizes):
    # x: [T, D]   ids: i32[pairs]   w: [E, D, 2, X]   bias: [E, 2, X]   out: [pairs, X]
    pair, tile = pl.program_id(0), pl.program_id(1)
    E, D = w_ref.shape[:2]
    expert = ids_ref[pair]

    @pl.when((expert >= 0) & (expert < E))
    def _():
        cut = Cut.of(1, D, sizes)
        weight = Weight(w_ref, cut, tile * sizes.columns, expert)
        rows = Rows(x_ref, cut, only=lax.div(pair, top))
        sums = sums_of(rows, weight, cut, num_parts=2)[0]
        parts = [part.astype(out_ref.dtype) for part in sums]
        if bias_ref is not None:
            parts = [y + weight.of_columns(bias_ref, part) for part, y in enumerate(parts)]
        _store(out_ref, pair, weight.columns, gated(parts[0], parts[1], activation))


def _down(hidden_ref, ids_ref, w_ref, bias_ref, weights_ref, out_ref, *, sizes):
    # hidden: [pairs, X]   ids: i32[pairs]   w: [E, X, 1, D]   bias: [E, 1, D]
    # weights: f32[pairs]   out: [pairs, D]
    pair, tile = pl.program_id(0), pl.program_id(1)
    E, X = w_ref.shape[:2]
    expert = ids_ref[pair]

    @pl.when((expert >= 0) & (expert < E))
    def _():
        cut = Cut.of(1, X, sizes)
        weight = Weight(w_ref, cut, tile * sizes.columns, expert)
        rows = Rows(hidden_ref, cut, only=pair)
        (y,) = sums_of(rows, weight, cut, num_parts=1)[0]
        if bias_ref is not None:
            y += weight.of_columns(bias_ref, 0).astype(jnp.float32)
        y *= weights_ref[pair]
        _store(out_ref, pair, weight.columns, y.astype(out_ref.dtype))


def _store(out_ref, row, columns, y):
    """A column of values into a row of the result."""
    n = columns[:, None]
    plgpu.store(out_ref.at[jnp.broadcast_to(row, n.shape), n], y, mask=n < out_ref.shape[1])

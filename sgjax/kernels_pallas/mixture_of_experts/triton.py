"""Two Pallas kernels that lower to Triton, and a sum.

Pairs of a token and one of its experts are sorted by expert. A program takes a block of pairs of
one expert and some columns: of gate and up in the first kernel, which gathers the tokens' rows; of
down in the second, which reads what the first left in the order of the blocks, and leaves each
pair's weighed result in its token's place. Nothing is added up there by two programs, so that the
sum over a token's experts is always in the same order.

Blocks are as large as the pairs that an expert has in the mean, so that few tokens do not pay for
products of many, and the weights of an expert with many are read once for each of its blocks only.
A few tokens have kernels of their own (`triton_pairs`).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.activations import gated
from sgjax.kernels_pallas.block_sizes import device_kind, tuned_sizes
from sgjax.kernels_pallas.mixture_of_experts import reference, triton_pairs
from sgjax.kernels_pallas.mixture_of_experts.plan import (
    Blocks,
    block_size,
    expert_blocks,
    sum_of_choices,
)

LEAST, MOST = 16, 128
"""Pairs of a block: tensor cores want 16 rows, and more than 128 find no room."""
_MOST_VALUES = 2**31 - 1
"""Of a weight: Triton kernels count them in 32 bits."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How a kernel's work is cut: columns of a program, rows of the weight that it reads at a
    time; warps, stages."""

    columns: int
    depth: int
    warps: int = 4
    stages: int = 3


_DEFAULTS = {
    "gate_up": {16: Sizes(32, 128), 32: Sizes(32, 128), 64: Sizes(64, 64), 128: Sizes(64, 64, 8)},
    "down": {16: Sizes(64, 128), 32: Sizes(64, 128), 64: Sizes(64, 64), 128: Sizes(128, 64, 8)},
}
"""For blocks of so many pairs: such that the stages fit any device's memory."""
KERNELS = ("gate_up", "down")
FEW, SINGLE = 2, 1
"""Of so many tokens each pair is a block by itself."""
BLOCKS = (SINGLE, *_DEFAULTS["down"])


def sizes(kernel: str, block: int, row_bytes: int, kind: str | None) -> Sizes | triton_pairs.Sizes:
    """For blocks of so many pairs, and experts whose width takes so many bytes: tuned ones where
    the device has them."""
    if block == SINGLE:
        return triton_pairs.sizes(kernel, row_bytes, kind)
    tuned = tuned_sizes("mixture_of_experts", f"{kernel} {block}", row_bytes, kind)
    return dataclasses.replace(_DEFAULTS[kernel][block], **tuned)


def block_of(T: int, top: int, num_experts: int) -> int:
    """Pairs of a block."""
    return SINGLE if T <= FEW else block_size(T * top, num_experts, least=LEAST, most=MOST)


def mixture_of_experts(x, ids, weights, experts, *, activation, kind=None, interpret=False):
    """The contract. `kind` is the device's whose block sizes are taken; None: the one that JAX
    computes on. `interpret` runs the kernels in Pallas's interpreter, on any platform."""
    w = experts.gate_up
    is_narrow = x.dtype == w.dtype and x.dtype in (jnp.bfloat16, jnp.float16)
    if not is_narrow or w.size > _MOST_VALUES or ids.size == 0:
        return reference.mixture_of_experts(x, ids, weights, experts, activation=activation)
    (T, top), kind = ids.shape, kind or device_kind()
    M = block_of(T, top, w.shape[0])
    up, down = (sizes(kernel, M, w.shape[3] * x.dtype.itemsize, kind) for kernel in KERNELS)
    how = {"activation": activation, "interpret": interpret}
    return mixture(x, ids, weights, experts, M=M, up=up, down=down, **how)


def mixture(x, ids, weights, experts, *, M: int, up, down, activation, interpret=False):
    """The contract, with blocks of M pairs and these sizes for the two kernels."""
    num_experts = experts.down.shape[0]
    if M == SINGLE:
        call = {"interpret": interpret}
        hidden = triton_pairs.gate_up(x, ids, experts, sizes=up, activation=activation, **call)
        made = triton_pairs.multiply_down(hidden, ids, experts, weights, sizes=down, **call)
        return sum_of_choices(made, ids, num_experts, x.dtype)
    blocks = expert_blocks(ids, num_experts, M)
    call = {"M": M, "interpret": interpret}
    hidden = gate_up(x, blocks, experts, ids.shape[1], sizes=up, activation=activation, **call)
    made = multiply_down(hidden, blocks, experts, weights.reshape(-1), sizes=down, **call)
    return sum_of_choices(made, ids, num_experts, x.dtype)


def gate_up(x, blocks: Blocks, experts, top: int, *, M, sizes: Sizes, activation, interpret=False):
    """[pairs, X]: what the gate leaves, of pairs in the order of `blocks`."""
    X = experts.down.shape[1]
    return pl.pallas_call(
        functools.partial(_gate_up, top=top, M=M, sizes=sizes, activation=activation),
        grid=(blocks.expert.shape[0], pl.cdiv(X, sizes.columns)),
        out_shape=jax.ShapeDtypeStruct((blocks.order.shape[0], X), x.dtype),
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages),
        name="mixture_of_experts_gate_up",
    )(x, blocks, experts.gate_up, experts.gate_up_bias)


def multiply_down(hidden, blocks: Blocks, experts, weights, *, M, sizes: Sizes, interpret=False):
    """[pairs, D]: each pair's result times its weight, in the order of tokens."""
    D = experts.down.shape[2]
    return pl.pallas_call(
        functools.partial(_down, M=M, sizes=sizes),
        grid=(blocks.expert.shape[0], pl.cdiv(D, sizes.columns)),
        out_shape=jax.ShapeDtypeStruct((blocks.order.shape[0], D), hidden.dtype),
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages),
        name="mixture_of_experts_down",
    )(hidden, blocks, experts.down, experts.down_bias, weights)


def _gate_up(x_ref, blocks, w_ref, bias_ref, out_ref, *, top, M, sizes, activation):
    # x: [T, D]   blocks: with refs for arrays   w: [E, D, 2, X]   bias: [E, 2, X]
    # out: [pairs, X]
    block, tile = pl.program_id(0), pl.program_id(1)
    _, D, _, X = w_ref.shape

    @pl.when(blocks.count[block] > 0)
    def _():
        run = _Run(blocks, block, M)
        token = lax.div(run.pair, top)[:, None]
        columns = _Columns(tile, sizes.columns, X)

        def step(d, state):
            own = None if D % sizes.depth == 0 else d < D
            x = _load(x_ref, (token, d[None, :]), own if own is None else own[None, :])
            w = [columns.tile(w_ref, (run.expert, d[:, None], part), own) for part in range(2)]
            return [sums + plgpu.dot(x, part) for sums, part in zip(state, w, strict=True)]

        sums = [jnp.zeros((M, sizes.columns), jnp.float32)] * 2
        parts = [y.astype(out_ref.dtype) for y in _over(D, sizes.depth, step, sums)]
        if bias_ref is not None:
            parts = [
                y + columns.tile(bias_ref, (run.expert, part), None)[None, :]
                for part, y in enumerate(parts)
            ]
        y = gated(parts[0], parts[1], activation)
        place = out_ref.at[(run.first + run.i)[:, None], columns.at[None, :]]
        plgpu.store(place, y, mask=run.here[:, None] & columns.own[None, :])


def _down(hidden_ref, blocks, w_ref, bias_ref, weights_ref, out_ref, *, M, sizes):
    # hidden: [pairs, X]   blocks: with refs for arrays   w: [E, X, D]   bias: [E, D]
    # weights: f32[pairs]   out: [pairs, D]
    block, tile = pl.program_id(0), pl.program_id(1)
    _, X, D = w_ref.shape

    @pl.when(blocks.count[block] > 0)
    def _():
        run = _Run(blocks, block, M)
        row = (run.first + jnp.minimum(run.i, run.count - 1))[:, None]
        columns = _Columns(tile, sizes.columns, D)

        def step(at, state):
            own = None if X % sizes.depth == 0 else at < X
            x = _load(hidden_ref, (row, at[None, :]), own if own is None else own[None, :])
            return [state[0] + plgpu.dot(x, columns.tile(w_ref, (run.expert, at[:, None]), own))]

        (y,) = _over(X, sizes.depth, step, [jnp.zeros((M, sizes.columns), jnp.float32)])
        if bias_ref is not None:
            bias = columns.tile(bias_ref, (run.expert,), None)
            y += bias.astype(jnp.float32)[None, :]
        y *= plgpu.load(weights_ref.at[run.pair])[:, None]
        # Rows that repeat the last are not to be written, and not twice to one place.
        pair = jnp.where(run.here, run.pair, out_ref.shape[0])
        place = out_ref.at[pair[:, None], columns.at[None, :]]
        mask = run.here[:, None] & columns.own[None, :]
        plgpu.store(place, y.astype(out_ref.dtype), mask=mask)


class _Run:
    """A block's pairs: the rows of its products. Rows past the last repeat that."""

    def __init__(self, blocks, block, M: int):
        self.expert, self.first = blocks.expert[block], blocks.first[block]
        self.count = blocks.count[block]
        self.i = jnp.arange(M)
        self.here = self.i < self.count
        place = self.first + jnp.minimum(self.i, self.count - 1)
        self.pair = plgpu.load(blocks.order.at[place])


class _Columns:
    """A program's columns of a weight: the last axis."""

    def __init__(self, tile, size: int, total: int):
        self.at = tile * size + jnp.arange(size)
        self.own = self.at < total
        self.all_own = total % size == 0

    def tile(self, ref, index, rows_own):
        """[rows, columns] of ref at `index` (the rows last but one or two, [rows, 1]); of a bias,
        [columns]."""
        is_bias = all(jnp.ndim(each) == 0 for each in index)
        at = self.at if is_bias else self.at[None, :]
        own = self.own if is_bias else self.own[None, :]
        mask = None if self.all_own else own
        if rows_own is not None:
            mask = rows_own[:, None] if mask is None else mask & rows_own[:, None]
        return _load(ref, (*index, at), mask)


def _load(ref: Any, index, mask):
    """With a mask where it takes one: whole tiles are most, and are read without."""
    shape = jnp.broadcast_shapes(*(jnp.shape(each) for each in index))
    if mask is None:
        return plgpu.load(ref.at[index])
    return plgpu.load(ref.at[index], mask=jnp.broadcast_to(mask, shape), other=0)


def _over(total: int, size: int, step, state):
    """The state after steps over [0, total), `size` at a time."""
    return lax.fori_loop(
        0, pl.cdiv(total, size), lambda i, state: step(i * size + jnp.arange(size), state), state
    )

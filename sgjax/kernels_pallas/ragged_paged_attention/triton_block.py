"""What all kernels do for a block of cached tokens: read it, score it, and take it in."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.ragged_paged_attention.view import CAUSAL, View
from sgjax.kernels_pallas.tiles import next_power_of_two

NEVER = -(2.0**100)
"""The score of what is not seen. A power of two, so that NEVER * exponent is exact: where a row
sees nothing of its first blocks, a fused multiply-add would leave the rounding error of 1e30."""
LOG2E = 1.4426950408889634


@dataclasses.dataclass(frozen=True)
class Options:
    """What a kernel is compiled for, besides the shapes."""

    page_size: int
    scale: float
    soft_cap: float | None = None
    view: View = CAUSAL
    _: dataclasses.KW_ONLY
    interpret: bool = False

    @property
    def exponent(self) -> float:
        """Scores times this, as powers of two, are softmax's numerators.

        It is applied in float32 after the product: folded into q it would be rounded with q.
        """
        return (self.scale if self.soft_cap is None else self.soft_cap) * LOG2E

    def cap(self, scores):
        """Products of q and k as scores, up to the factor `exponent`."""
        if self.soft_cap is None:
            return scores
        return jnp.tanh(scores * (self.scale / self.soft_cap))


def _fused(scores, factor: float, plus, interpret: bool):
    """scores [rows, N] * factor + plus [rows], in one instruction, which XLA does not make itself.

    A product and a sum apart: 1.7 ms where this takes 1.2 (8192 tokens, 32 heads of 128, H200).
    """
    plus = jnp.broadcast_to(plus[:, None], scores.shape)
    if interpret:
        return scores * factor + plus
    factors = jnp.full(scores.shape, factor, jnp.float32)
    (result,) = plgpu.elementwise_inline_asm(
        "fma.rn.f32 $0, $1, $2, $3;",
        args=(scores, factors, plus),
        constraints="=f,f,f,f",
        pack=1,
        result_shape_dtypes=(jax.ShapeDtypeStruct(scores.shape, jnp.float32),),
    )
    return result


def dot(a, b):
    """A product with float32 sums; float32 inputs are not rounded to TF32."""
    exact = a.dtype == jnp.float32
    return plgpu.dot(a, b, precision=lax.Precision.HIGHEST if exact else None)


@dataclasses.dataclass(frozen=True)
class Cache:
    """One row's keys and values of one head, as a kernel sees them: refs and where to look.

    Reads of blocks that are not seen whole are held inside [first, last]: a slot outside may belong
    to another request, whose NaN would come through a weight of zero.
    """

    k_ref: Any  # [slots, K, H]
    v_ref: Any  # [slots, K, H]
    tables_ref: Any  # i32[S, C]
    row: jax.Array
    head: jax.Array
    first: jax.Array
    last: jax.Array
    page_size: int

    def slots(self, at, whole: bool):
        """Where the tokens at the positions `at` lie; `whole` says that all of them are seen."""
        if not whole:
            at = jnp.clip(at, self.first, self.last)
        page = plgpu.load(self.tables_ref.at[self.row, lax.div(at, self.page_size)])
        return page * self.page_size + lax.rem(at, self.page_size)

    def keys(self, slots):
        return load_tile(self.k_ref, slots[:, None], self.head)

    def values(self, slots):
        return load_tile(self.v_ref, slots[:, None], self.head)


def load_tile(ref, rows, *heads):
    """`ref` [..., H] at `rows` [M, 1] and `heads`, with zeros past H up to a power of two."""
    H = ref.shape[-1]
    h = jnp.arange(next_power_of_two(H))[None, :]
    index = ref.at[(rows, *heads, h)]
    if h.size == H:
        return plgpu.load(index)
    mask = jnp.broadcast_to(h < H, (rows.size, h.size))
    return plgpu.load(index, mask=mask, other=0)


def start(num_rows: int, H: int):
    """The state before the first block: highest score, sum of numerators, weighted values."""
    return (
        jnp.full((num_rows,), NEVER, jnp.float32),
        jnp.zeros((num_rows,), jnp.float32),
        jnp.zeros((num_rows, next_power_of_two(H)), jnp.float32),
    )


def with_sink(state, sinks_ref, head, g, counts, options: Options):
    """The state with the sinks of the query heads `g` taken in, where `counts`; else as it is."""
    if sinks_ref is None:
        return state
    G = sinks_ref.shape[1]
    sink = plgpu.load(sinks_ref.at[head, g], mask=g < G, other=0).astype(jnp.float32)
    top = jnp.where(counts, sink * (LOG2E / options.exponent), NEVER)
    total = jnp.where(counts, jnp.ones_like(top), 0.0)
    return merge(state, (top, total, jnp.zeros_like(state[2])), options)


def take_in(state, q, cache: Cache, positions, seen, options: Options):
    """The state after the block at `positions`; `seen` masks its scores, None where all count."""
    top, total, out = state
    slots = cache.slots(positions, whole=seen is None)
    scores = options.cap(dot(q, cache.keys(slots).T))
    new_top, p, shrink = weigh(top, scores, seen, options)
    values = cache.values(slots)
    out = out * shrink[:, None] + dot(p.astype(values.dtype), values)
    return new_top, total * shrink + p.sum(-1), out


def weigh(top, scores, seen, options: Options):
    """A block's scores as weights of its values: the new highest score, the block's numerators, and
    the factor of what was summed up before."""
    if seen is not None:
        scores = jnp.where(seen, scores, NEVER)
    new_top = jnp.maximum(top, scores.max(-1))
    p = jnp.exp2(_fused(scores, options.exponent, -new_top * options.exponent, options.interpret))
    return new_top, p, jnp.exp2((top - new_top) * options.exponent)


def merge(state, other, options: Options):
    """The state after the blocks of both states."""
    (top, total, out), (other_top, other_total, other_out) = state, other
    new_top = jnp.maximum(top, other_top)
    shrink = jnp.exp2((top - new_top) * options.exponent)
    other_shrink = jnp.exp2((other_top - new_top) * options.exponent)
    out = out * shrink[:, None] + other_out * other_shrink[:, None]
    return new_top, total * shrink + other_total * other_shrink, out

"""A product of few rows. The time goes into reading the weight, each value once.

A program takes some columns of the weight, from its first row to its last, so that nothing is left
to add up. The weight is the left side of the tensor cores' products: these want 16 rows there, but
only 8 columns on the right. Where the tokens do not fill these, the width that is multiplied is cut
into slices, and each has columns of its own: what a slice of the weight gives with another's tokens
is thrown away. One token then has eight short sums, where it would have a long one, each product of
which waits for the last.

    weight, turned [slices * columns, step]   ·   tokens [step, slices * T]   (padded to 8)
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from sgjax.kernels_pallas.block_sizes import tuned_sizes
from sgjax.kernels_pallas.product.reference import gated
from sgjax.kernels_pallas.tiles import next_power_of_two


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How the work is cut: columns of a program; rows of them, in all slices, that it reads at a
    time; columns on the right of its products; warps, stages."""

    columns: int = 32
    depth: int = 256
    width: int = 16
    warps: int = 4
    stages: int = 4


class Norm(NamedTuple):
    """What comes before: the product is of RMSNorm(x + delta)."""

    delta: Any
    scale: Any
    eps: float


def sizes(form: str, row_bytes: int, kind: str | None) -> Sizes:
    """For columns whose rows are of so many bytes: tuned ones where the device has them, else such
    that the stages fit any device's memory."""
    depth = 128 if form == "gated" else 256
    return Sizes(**{"depth": depth, **tuned_sizes("product", form, row_bytes, kind)})


def num_columns(w: Float[Array, "..."], form: str) -> int:
    """Of the result: N."""
    if form == "logits":
        return w.shape[0]
    return w.size // w.shape[0] // (2 if form == "gated" else 1)


def product(x, w, bias, before: Norm | None = None, *, form, sizes: Sizes, interpret=False):
    """The contract of `product`; with `before`, that of `normed_product`."""
    T, K = x.shape
    N = num_columns(w, form)
    dtype = jnp.dtype(jnp.float32) if form == "logits" else x.dtype
    result = jax.ShapeDtypeStruct((T, N), dtype)
    inputs = x, (w if form == "logits" else w.reshape(K, -1, N))
    inputs += None if bias is None else bias.reshape(-1, N), None, None
    if before is not None:
        inputs = *inputs[:3], before.delta, before.scale
    y = pl.pallas_call(
        functools.partial(_kernel, form=form, eps=before and before.eps, sizes=sizes),
        grid=(pl.cdiv(N, sizes.columns),),
        out_shape=result if before is None else (jax.ShapeDtypeStruct(x.shape, x.dtype), result),
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages),
        name=f"product_{form}",
    )(*inputs)
    shape = (T, N) if form != "plain" else (T, *w.shape[1:])
    return y.reshape(shape) if before is None else (y[0], y[1].reshape(shape))


def _kernel(x_ref, w_ref, bias_ref, delta_ref, scale_ref, *refs, form, eps, sizes):
    # x, delta: [T, K]   scale: [K]   w: [K, parts, N], or of logits [N, K]   bias: [parts, N]
    # refs: out [T, N]; with delta: total [T, K] before it
    (T, K), program = x_ref.shape, pl.program_id(0)
    cut = _Cut.of(T, K, sizes)
    rows = _Rows(x_ref, delta_ref, scale_ref, refs[0], cut, writes=program == 0)
    weight = _Weight(w_ref, cut, program * sizes.columns)

    def take_in(start, state, whole: bool):
        sums, squares = state
        x, squares = rows.tile(start, whole, squares)
        parts = [plgpu.dot(weight.tile(part, start, whole), x.T) for part in range(len(sums))]
        return [a + b for a, b in zip(sums, parts, strict=True)], squares

    num_parts = 2 if form == "gated" else 1
    sums = [jnp.zeros((cut.slices * sizes.columns, cut.width), jnp.float32)] * num_parts
    squares = None if delta_ref is None else jnp.zeros((cut.width, cut.step), jnp.float32)
    state = lax.fori_loop(
        0, cut.num_steps, lambda i, state: take_in(cut.start(i), state, True), (sums, squares)
    )
    if cut.rest < K:
        state = take_in(cut.start_of_rest, state, False)
    sums, squares = state
    sums = [weight.sum_of_slices(part) for part in sums]
    if squares is not None:
        factor = lax.rsqrt(squares.sum(1).reshape(-1, cut.T).sum(0) / K + eps)[None, :]
        sums = [part * factor for part in sums]
    parts = [part.astype(refs[-1].dtype) for part in sums]
    if bias_ref is not None:
        parts = [y + weight.of_columns(bias_ref, part) for part, y in enumerate(parts)]
    y = gated(*parts) if form == "gated" else parts[0]
    n, t = weight.columns[:, None], jnp.arange(cut.T)[None, :]
    plgpu.store(refs[-1].at[t, n], y, mask=(t < T) & (n < refs[-1].shape[1]))


@dataclasses.dataclass(frozen=True)
class _Cut:
    """How the width K is cut: slices of `num_steps` steps each, end to end, and a rest after them,
    of one step a slice at most."""

    T: int
    """Tokens, padded."""
    columns: int
    width: int
    slices: int
    step: int
    num_steps: int

    @classmethod
    def of(cls, T: int, K: int, sizes: Sizes) -> "_Cut":
        T = next_power_of_two(T)
        width = max(8, sizes.width, T)
        # Tensor cores want steps of 16. A thread reads at least two values of the tokens at a time:
        # what is less than four bytes is not read ahead.
        most = min(sizes.depth // 16, width * sizes.depth // (64 * sizes.warps))
        slices = max(1, min(width // T, most))
        num_steps = K // sizes.depth
        return cls(T, sizes.columns, width, slices, sizes.depth // slices, num_steps)

    @property
    def rest(self) -> int:
        """Where the rest starts."""
        return self.slices * self.num_steps * self.step

    def start(self, i):
        """Where step i of a slice starts."""
        return lambda part: (part * self.num_steps + i) * self.step

    def start_of_rest(self, part):
        return self.rest + part * self.step


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The tokens that are multiplied, slice after slice: row s * T + t is slice s of token t."""

    x_ref: Any  # [T, K]
    delta_ref: Any  # [T, K], or None
    scale_ref: Any  # [K], or None
    total_ref: Any  # [T, K], where there is delta
    cut: _Cut
    writes: Any
    """Whether this is the program that writes the total."""

    def tile(self, start, whole: bool, squares):
        """[width, step] of what is multiplied, and `squares` with those of its norm, if it has one.

        What the norm divides by is known at the end: a token's sum of squares.
        """
        row = jnp.arange(self.cut.width)[:, None]
        part, token = lax.div(row, self.cut.T), lax.rem(row, self.cut.T)
        k = start(part) + jnp.arange(self.cut.step)[None, :]
        T, K = self.x_ref.shape
        own = jnp.broadcast_to((token < T) & (part < self.cut.slices), k.shape)
        if not whole:
            own &= k < K
        at = jnp.broadcast_to(token, k.shape), k
        x = plgpu.load(self.x_ref.at[at], mask=own, other=0)
        if self.delta_ref is None:
            return x, squares
        total = x + plgpu.load(self.delta_ref.at[at], mask=own, other=0)
        plgpu.store(self.total_ref.at[at], total, mask=own & self.writes)
        wide = total.astype(jnp.float32)
        scale = plgpu.load(self.scale_ref.at[k], mask=own, other=0)
        return total * scale, squares + wide * wide


@dataclasses.dataclass(frozen=True)
class _Weight:
    """A program's columns of the weight, slice after slice."""

    ref: Any  # [K, parts, N], or [N, K]
    cut: _Cut
    first: Any

    @property
    def columns(self):
        return self.first + jnp.arange(self.cut.columns)

    def tile(self, part, start, whole: bool):
        """[slices * columns, step]"""
        place, step = jnp.arange(self.cut.slices * self.cut.columns), jnp.arange(self.cut.step)
        n = self.first + lax.rem(place, self.cut.columns)
        begin = start(lax.div(place, self.cut.columns))
        if self.ref.ndim == 2:
            return self._load(n[:, None], begin[:, None] + step[None, :], None, whole)
        return self._load(n[None, :], begin[None, :] + step[:, None], part, whole).T

    def sum_of_slices(self, products):
        """[columns, T] of what a slice of the weight gives with its own slice of the tokens."""
        cut = self.cut
        of_weight = lax.div(jnp.arange(cut.slices * cut.columns)[:, None], cut.columns)
        of_tokens = lax.div(jnp.arange(cut.width)[None, :], cut.T)
        own = jnp.where(of_weight == of_tokens, products, 0.0)
        return own.reshape(cut.slices, cut.columns, -1, cut.T).sum(2).sum(0)

    def of_columns(self, ref, part):
        """[columns, 1] of an array [parts, N]."""
        at = ref.at[part, self.columns]
        return plgpu.load(at, mask=self.columns < ref.shape[1], other=0)[:, None]

    def _load(self, n, k, part, whole: bool):
        """With a mask where it takes one: whole tiles are most, and are read without."""
        n = jnp.broadcast_to(n, k.shape)
        N, K = self.ref.shape[-1], self.ref.shape[0]
        at = (k, part, n)
        if part is None:
            (N, K), at = self.ref.shape, (n, k)
        own = [n < N] * bool(N % self.cut.columns) + [k < K] * (not whole)
        if not own:
            return plgpu.load(self.ref.at[at])
        return plgpu.load(self.ref.at[at], mask=functools.reduce(jnp.logical_and, own), other=0)

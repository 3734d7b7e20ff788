"""A product of few rows. The time goes into reading the weight, each value once.

A program takes some columns of the weight, from its first row to its last, so that nothing is left
to add up. The weight is the left side of the tensor cores' products: these want 16 rows there, but
only 8 columns on the right, so that one token is padded to 8 and not to 16.
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
    """How the work is cut: columns of a program, rows of them that it reads at a time."""

    columns: int = 32
    depth: int = 128
    warps: int = 4
    stages: int = 4


class Norm(NamedTuple):
    """What comes before: the product is of RMSNorm(x + delta)."""

    delta: Any
    scale: Any
    eps: float


def sizes(form: str, row_bytes: int, kind: str | None) -> Sizes:
    """For columns whose rows are of so many bytes: tuned ones where the device has them."""
    return Sizes(**tuned_sizes("product", form, row_bytes, kind))


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
    size = max(8, next_power_of_two(T))
    rows = _Rows(x_ref, delta_ref, scale_ref, refs[0], size, writes=program == 0)
    weight = _Weight(w_ref, program * sizes.columns + jnp.arange(sizes.columns))

    def take_in(first, state, whole: bool):
        sums, squares = state
        k = first + jnp.arange(sizes.depth)
        own = None if whole else k < K
        x, squares = rows.tile(k, own, squares)
        parts = [plgpu.dot(weight.tile(part, k, own), x.T) for part in range(len(sums))]
        return [a + b for a, b in zip(sums, parts, strict=True)], squares

    num_parts = 2 if form == "gated" else 1
    sums = [jnp.zeros((sizes.columns, rows.size), jnp.float32)] * num_parts
    squares = None if delta_ref is None else jnp.zeros((rows.size, sizes.depth), jnp.float32)
    num_whole, rest = divmod(K, sizes.depth)
    state = lax.fori_loop(
        0, num_whole, lambda i, state: take_in(i * sizes.depth, state, True), (sums, squares)
    )
    if rest:
        state = take_in(K - rest, state, False)
    sums, squares = state
    if squares is not None:
        factor = lax.rsqrt(squares.sum(axis=1) / K + eps)[None, :]
        sums = [part * factor for part in sums]
    parts = [part.astype(refs[-1].dtype) for part in sums]
    if bias_ref is not None:
        parts = [y + weight.of_columns(bias_ref, part) for part, y in enumerate(parts)]
    y = gated(*parts) if form == "gated" else parts[0]
    n, t = weight.columns[:, None], rows.tokens[None, :]
    plgpu.store(refs[-1].at[t, n], y, mask=(t < T) & (n < refs[-1].shape[1]))


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The rows that are multiplied, and as many of zeros as tensor cores want."""

    x_ref: Any  # [T, K]
    delta_ref: Any  # [T, K], or None
    scale_ref: Any  # [K], or None
    total_ref: Any  # [T, K], where there is delta
    size: int
    writes: Any
    """Whether this is the program that writes the total."""

    @property
    def tokens(self):
        return jnp.arange(self.size)

    def tile(self, k, own, squares):
        """[size, k] of what is multiplied, and `squares` with those of its norm, if it has one.

        What the norm divides by is known at the end: a whole row's sum of squares.
        """
        mask = (self.tokens < self.x_ref.shape[0])[:, None]
        mask = jnp.broadcast_to(mask if own is None else mask & own[None, :], (self.size, k.size))
        at = self.tokens[:, None], k[None, :]
        x = plgpu.load(self.x_ref.at[at], mask=mask, other=0)
        if self.delta_ref is None:
            return x, squares
        total = x + plgpu.load(self.delta_ref.at[at], mask=mask, other=0)
        plgpu.store(self.total_ref.at[at], total, mask=mask & self.writes)
        # As wide as the others, so that it is read ahead as they are.
        scale = plgpu.load(
            self.scale_ref.at[jnp.broadcast_to(at[1], mask.shape)], mask=mask, other=0
        )
        wide = total.astype(jnp.float32)
        return total * scale, squares + wide * wide


@dataclasses.dataclass(frozen=True)
class _Weight:
    """A program's columns of the weight."""

    ref: Any  # [K, parts, N], or [N, K]
    columns: Any

    def tile(self, part, k, own):
        """[columns, k]; `own` says which of k there are, None: all of them."""
        if self.ref.ndim == 2:
            own = None if own is None else own[None, :]
            return self._load((self.columns[:, None], k[None, :]), 0, own)
        own = None if own is None else own[:, None]
        return self._load((k[:, None], part, self.columns[None, :]), 2, own).T

    def of_columns(self, ref, part):
        """[columns, 1] of an array [parts, N]."""
        at = ref.at[part, self.columns]
        return plgpu.load(at, mask=self.columns < ref.shape[1], other=0)[:, None]

    def _load(self, at, axis: int, own):
        """With a mask where it takes one: whole tiles are most, and are read without."""
        N = self.ref.shape[axis]
        if N % self.columns.size:
            inside = at[axis] < N
            own = inside if own is None else own & inside
        if own is None:
            return plgpu.load(self.ref.at[at])
        shape = jnp.broadcast_shapes(at[0].shape, at[-1].shape)
        return plgpu.load(self.ref.at[at], mask=jnp.broadcast_to(own, shape), other=0)

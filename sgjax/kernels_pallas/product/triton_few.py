"""A product of few rows. The time goes into reading the weight, each value once.

A program takes some columns of the weight, from its first row to its last, so that nothing is left
to add up. The weight is the left side of the tensor cores' products: these want 16 rows there, but
only 8 columns on the right. Where the tokens do not fill these, the width that is multiplied is cut
into slices, and each has columns of its own: what a slice of the weight gives with another's tokens
is thrown away. One token then has eight short sums, where it would have a long one, each product of
which waits for the last.

    weight, turned [slices * columns, step]   ·   tokens [step, slices * T]   (padded to 8)
"""

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
from sgjax.kernels_pallas.product.triton_tiles import Cut, Rows, Sizes, Weight


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


def product(
    x,
    w,
    bias,
    before: Norm | None = None,
    *,
    form,
    activation="silu",
    sizes: Sizes,
    interpret=False,
):
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
        functools.partial(
            _kernel, form=form, activation=activation, eps=before and before.eps, sizes=sizes
        ),
        grid=(pl.cdiv(N, sizes.columns),),
        out_shape=result if before is None else (jax.ShapeDtypeStruct(x.shape, x.dtype), result),
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages),
        name=f"product_{form}",
    )(*inputs)
    shape = (T, N) if form != "plain" else (T, *w.shape[1:])
    return y.reshape(shape) if before is None else (y[0], y[1].reshape(shape))


def _kernel(x_ref, w_ref, bias_ref, delta_ref, scale_ref, *refs, form, activation, eps, sizes):
    # x, delta: [T, K]   scale: [K]   w: [K, parts, N], or of logits [N, K]   bias: [parts, N]
    # refs: out [T, N]; with delta: total [T, K] before it
    (T, K), program = x_ref.shape, pl.program_id(0)
    cut = Cut.of(T, K, sizes)
    rows = Rows(x_ref, cut, delta_ref, scale_ref, refs[0], writes=program == 0)
    weight = Weight(w_ref, cut, program * sizes.columns)
    sums, squares = sums_of(rows, weight, cut, num_parts=2 if form == "gated" else 1)
    if squares is not None:
        factor = lax.rsqrt(squares / K + eps)[None, :]
        sums = [part * factor for part in sums]
    parts = [part.astype(refs[-1].dtype) for part in sums]
    if bias_ref is not None:
        parts = [y + weight.of_columns(bias_ref, part) for part, y in enumerate(parts)]
    y = gated(parts[0], parts[1], activation) if form == "gated" else parts[0]
    n, t = weight.columns[:, None], jnp.arange(cut.T)[None, :]
    plgpu.store(refs[-1].at[t, n], y, mask=(t < T) & (n < refs[-1].shape[1]))


def sums_of(rows: Rows, weight: Weight, cut: Cut, *, num_parts: int):
    """The program's products with each part of the weight, f32[columns, T], and the sum of squares
    of each token, f32[T], if it has to be normed."""

    def take_in(start, state, whole: bool):
        sums, squares = state
        x, squares = rows.tile(start, whole, squares)
        parts = [plgpu.dot(weight.tile(part, start, whole), x.T) for part in range(num_parts)]
        return [a + b for a, b in zip(sums, parts, strict=True)], squares

    sums = [jnp.zeros((cut.slices * cut.columns, cut.width), jnp.float32)] * num_parts
    squares = None if rows.delta_ref is None else jnp.zeros((cut.width, cut.step), jnp.float32)
    state = lax.fori_loop(
        0, cut.num_steps, lambda i, state: take_in(cut.start(i), state, True), (sums, squares)
    )
    if cut.rest < cut.K:
        state = take_in(cut.start_of_rest, state, False)
    sums, squares = state
    if squares is not None:
        squares = squares.sum(1).reshape(-1, cut.T).sum(0)
    return [cut.sum_of_slices(part) for part in sums], squares

"""A gated product of many rows, on Hopper's own instructions (Pallas to Mosaic GPU).

Gate and up are a tile each, of the same rows and columns, so that what comes of both is gated
before it is written: a product by itself writes twice as much, and what gates it reads that again.

As many programs as the GPU has multiprocessors go through the tiles. In each a warpgroup fetches
what the next steps of the product take, of this tile or the next, and two multiply, 64 rows each.
Only few steps are fetched ahead: power is what bounds large products, and more takes more of it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float

from sgjax.kernels_pallas.activations import Activation
from sgjax.kernels_pallas.block_sizes import num_multiprocessors, tuned_sizes
from sgjax.kernels_pallas.mosaic_names import name_kernels_alike
from sgjax.kernels_pallas.product import LEAST_MANY
from sgjax.kernels_pallas.product.reference import gated

_ROWS, _COLUMNS = 128, 128
"""Of a tile of the result."""
_ROWS_OF_GROUP = _ROWS // 2
_FETCHER = 2
"""The warpgroup that fetches; those before it multiply."""
_IN_KERNELS: tuple[Activation, ...] = ("silu", "gelu_tanh", "relu2", "tanh")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How the work is cut: what a step multiplies of each row; steps fetched ahead; tiles beside
    one another that are computed at about the same time."""

    depth: int = 128
    stages: int = 2
    width: int = 8


def sizes(row_bytes: int, kind: str | None) -> Sizes | None:
    """For columns whose rows are of so many bytes, where the device has tuned ones: it is a GPU
    that has the instructions, and the kernel is faster than XLA's product there."""
    found = tuned_sizes("product", "gated_many", row_bytes, kind)
    return Sizes(**found) if found else None


def takes(x, w, sizes: Sizes, activation: Activation) -> bool:
    """Whether rows x [T, K] times w [K, 2, F] can be cut into whole tiles."""
    (T, K), F = x.shape, w.shape[2]
    return (
        T >= LEAST_MANY
        and T % _ROWS == 0
        and F % _COLUMNS == 0
        and K % (sizes.depth * sizes.stages) == 0
        and x.dtype == w.dtype
        and x.dtype in (jnp.bfloat16, jnp.float16)
        and activation in _IN_KERNELS
    )


def product(
    x: Float[Array, "T K"],
    w: Float[Array, "K 2 F"],
    *,
    activation: Activation,
    sizes: Sizes,
) -> Float[Array, "T F"]:
    """The contract of a gated `product` without a bias, of what `takes` allows."""
    name_kernels_alike()
    (T, K), F = x.shape, w.shape[2]
    num_programs = num_multiprocessors()
    tile = functools.partial(_smem, dtype=x.dtype)
    kernel = plgpu.kernel(
        functools.partial(_kernel, activation=activation, sizes=sizes),
        out_type=jax.ShapeDtypeStruct((T, F), x.dtype),
        scratch_types=[
            tile(sizes.stages, _ROWS, sizes.depth),
            tile(sizes.stages, sizes.depth, _COLUMNS),
            tile(sizes.stages, sizes.depth, _COLUMNS),
            tile(_FETCHER, _ROWS_OF_GROUP, _COLUMNS),
            plgpu.Barrier(num_arrivals=3, num_barriers=sizes.stages),
            plgpu.Barrier(num_arrivals=_FETCHER, num_barriers=sizes.stages),
        ],
        grid=(num_programs,),
        grid_names=("program",),
        num_threads=_FETCHER + 1,
        thread_name="group",
        compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Warpgroup),
        kernel_name="product_gated_many",
    )
    return kernel(x, w.reshape(K, 2 * F))


def _smem(*shape: int, dtype):
    """In rows of 128 bytes, as the instructions want it."""
    swizzle = 128
    transforms = (
        plgpu.TilingTransform((8, swizzle // dtype.itemsize)),
        plgpu.SwizzleTransform(swizzle),
    )
    return plgpu.SMEM(shape, dtype, transforms=transforms)


def _kernel(x_ref, w_ref, out_ref, x_tile, gate, up, result, full, free, *, activation, sizes):
    # x: [T, K]   w: [K, 2 * F]   out: [T, F]
    # x_tile: [stages, rows, depth]   gate, up: [stages, depth, columns]
    # result: [2, rows / 2, columns]
    # full: barriers of the stages, three copies each   free: two warpgroups each
    (T, K), F = x_ref.shape, out_ref.shape[1]
    steps, y_dtype = K // sizes.depth, out_ref.dtype
    program, programs = lax.axis_index("program"), lax.axis_size("program")
    group = lax.axis_index("group")
    shape = T // _ROWS, F // _COLUMNS
    count = lax.div(shape[0] * shape[1] - program + programs - 1, programs)

    def place(i):
        """First row and column of this program's tile i."""
        m, n = plgpu.planar_snake(program + i * programs, shape, 0, sizes.width)
        return m * _ROWS, n * _COLUMNS

    def each_step(i, do):
        """`do` with each step of tile i: which it is, and its stage."""

        def step(k, _):
            do(k, lax.rem(i * steps + k, sizes.stages))

        lax.fori_loop(0, steps, step, None)

    @pl.when(group == _FETCHER)
    def _():
        plgpu.set_max_registers(40, action="decrease")

        def fetch_tile(i, _):
            row, column = place(i)

            def fetch(k, stage):
                @pl.when(i * steps + k >= sizes.stages)
                def _():
                    plgpu.barrier_wait(free.at[stage])

                depth = pl.ds(k * sizes.depth, sizes.depth)
                copy = functools.partial(_copy, stage=stage, barrier=full)
                copy(x_ref.at[pl.ds(row, _ROWS), depth], x_tile)
                copy(w_ref.at[depth, pl.ds(column, _COLUMNS)], gate)
                copy(w_ref.at[depth, pl.ds(F + column, _COLUMNS)], up)

            each_step(i, fetch)

        lax.fori_loop(0, count, fetch_tile, None)
        # A barrier is left with as many waits as arrivals.
        lax.fori_loop(0, sizes.stages, lambda stage, _: plgpu.barrier_wait(free.at[stage]), None)

    @pl.when(group < _FETCHER)
    def _():
        plgpu.set_max_registers(232, action="increase")
        own = pl.ds(group * _ROWS_OF_GROUP, _ROWS_OF_GROUP)

        def multiply_tile(i, _):
            row, column = place(i)

            def with_sums(gates, ups):
                def multiply(_, stage):
                    plgpu.barrier_wait(full.at[stage])
                    rows = x_tile.at[stage, own]
                    plgpu.wgmma(gates, rows, gate.at[stage])
                    plgpu.wgmma(ups, rows, up.at[stage])
                    plgpu.wgmma_wait(0)
                    plgpu.barrier_arrive(free.at[stage])

                each_step(i, multiply)
                y = gated(gates[...].astype(y_dtype), ups[...].astype(y_dtype), activation)
                plgpu.wait_smem_to_gmem(0, wait_read_only=True)  # the tile before has been written
                result[group] = y
                plgpu.commit_smem()
                to = pl.ds(row + group * _ROWS_OF_GROUP, _ROWS_OF_GROUP), pl.ds(column, _COLUMNS)
                plgpu.copy_smem_to_gmem(result.at[group], out_ref.at[to])

            sums = plgpu.ACC((_ROWS_OF_GROUP, _COLUMNS), jnp.float32)
            pl.run_scoped(with_sums, sums, sums)

        lax.fori_loop(0, count, multiply_tile, None)
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)


def _copy(source, tile, *, stage, barrier):
    plgpu.copy_gmem_to_smem(source, tile.at[stage], barrier.at[stage])

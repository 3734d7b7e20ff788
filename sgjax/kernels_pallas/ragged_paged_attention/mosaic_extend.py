"""Extend on Hopper's own instructions: a Pallas kernel that lowers to Mosaic GPU.

A unit of work is a query block of 64 tokens and two query heads of one kv head. As many programs
run as the GPU has multiprocessors, and each takes one unit after the other: two of its warpgroups
compute one head each (`mosaic_softmax`), and a third has the TMA unit bring the cached tokens, page
by page, into a ring of blocks in shared memory, without a pause from one unit to the next.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float

from sgjax.kernels_pallas.block_sizes import tuned_sizes
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.kernels_pallas.ragged_paged_attention import mosaic_softmax as ms
from sgjax.kernels_pallas.ragged_paged_attention import triton_block as tb
from sgjax.kernels_pallas.ragged_paged_attention.mosaic_work import BOTH, TOKENS, Shared, Work
from sgjax.kernels_pallas.ragged_paged_attention.plan import longest_first, query_blocks
from sgjax.kernels_pallas.ragged_paged_attention.triton_clear import clear

ALIGNED = 8
"""Tiles in shared memory are groups of so many rows: copies begin at multiples of it."""
SWIZZLED = (plgpu.TilingTransform((ALIGNED, 64)), plgpu.SwizzleTransform(128))
"""How tiles of 16-bit numbers lie in shared memory for the tensor cores."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Cached tokens a block, blocks of keys and of values that shared memory holds, programs."""

    block: int = 128
    stages: int = 2
    programs: int = 132


def fits(q, page_size: int, soft_cap: float | None) -> bool:
    """Whether the kernel takes such a call."""
    T, _, G, H = q.shape
    return (
        jax.__version_info__ >= (0, 11)
        and q.dtype in (jnp.bfloat16, jnp.float16)
        and H == 128
        and T >= TOKENS
        and T % ALIGNED == 0
        and page_size % ALIGNED == 0
        and soft_cap is None
        and (G % BOTH == 0 or G > 2 * BOTH)  # an odd head is computed twice
    )


def sizes(row_bytes: int, dtype, kind: str | None) -> Sizes:
    """Tuned ones where the device has them."""
    return Sizes(**tuned_sizes("ragged_paged_attention", "mosaic_extend", row_bytes, kind))


@functools.partial(jax.jit, static_argnames=("options", "sizes"))  # traced once, not in each layer
def extend(
    q: Float[Array, "T K G H"],
    k: Float[Array, "slots K H"],
    v: Float[Array, "slots K H"],
    rows: RaggedRows,
    *,
    options: tb.Options,
    sizes: Sizes,
) -> Float[Array, "T K G H"]:
    """The tokens of the rows after the first num_decode; those of no row are zero, and those of the
    first num_decode, which the decode kernel writes over, are not defined."""
    T, K, G, _ = q.shape
    blocks = longest_first(query_blocks(rows, T, TOKENS, align=ALIGNED))
    per_block = K * pl.cdiv(G, BOTH)
    programs = min(sizes.programs, blocks.row.shape[0] * per_block)
    interpreter = None
    if options.interpret:
        interpreter = plgpu.InterpretGPUParams()  # pyright: ignore[reportAttributeAccessIssue]
    kernel = plgpu.kernel(
        functools.partial(_kernel, programs=programs, sizes=sizes, options=options),
        out_type=jax.ShapeDtypeStruct(q.shape, q.dtype),
        grid=(programs,),
        grid_names=("program",),
        num_threads=BOTH + 1,
        thread_name="warpgroup",
        kernel_name="ragged_paged_attention_extend",
        compiler_params=plgpu.CompilerParams(approx_math=True),
        interpret=interpreter,
    )
    num_units = jnp.sum(blocks.count > 0, dtype=jnp.int32)[None] * per_block
    plan = (blocks.row, blocks.token, blocks.position, blocks.count, blocks.lead)
    out = kernel(q, k, v, rows.tables, rows.lengths, num_units, *plan)
    return clear(out, rows, interpret=options.interpret)


def _kernel(
    q_ref, k_ref, v_ref, tables_ref, lengths_ref, num_units_ref, *refs, programs, sizes, options
):
    # q, out: [T, K, G, H]   k, v: [slots, K, H]   tables: i32[S, C]   lengths: i32[S]
    # num_units: i32[1]   plan: row, token, position, count, lead i32[Q]
    *plan, out_ref = refs
    H = q_ref.shape[-1]
    work = Work(
        lengths_ref,
        *plan,
        shape=q_ref.shape,
        programs=programs,
        num_units=num_units_ref[0],
        block=sizes.block,
        options=options,
    )

    def program(*shared):
        shared = Shared(*shared)
        warpgroup = lax.axis_index("warpgroup")

        @pl.when(warpgroup == BOTH)
        def _():
            plgpu.set_max_registers(40, action="decrease")
            _bring((k_ref, v_ref, tables_ref), work, shared, sizes)

        @pl.when(warpgroup < BOTH)
        def _():
            plgpu.set_max_registers(232, action="increase")
            ms.compute(q_ref, out_ref, work, shared)

    ring = plgpu.SMEM((sizes.stages, sizes.block, H), q_ref.dtype, transforms=SWIZZLED)
    full = plgpu.Barrier(num_arrivals=sizes.block // _piece(work), num_barriers=sizes.stages)
    free = plgpu.Barrier(num_arrivals=BOTH, num_barriers=sizes.stages)
    pl.run_scoped(
        program,
        plgpu.SMEM((2, BOTH, TOKENS, H), q_ref.dtype, transforms=SWIZZLED),
        plgpu.SMEM((BOTH, TOKENS, H), q_ref.dtype),
        ring,
        ring,
        plgpu.Barrier(num_barriers=BOTH),
        full,
        full,
        free,
        free,
        plgpu.Barrier(num_barriers=BOTH),
        plgpu.Barrier(num_arrivals=BOTH),
        collective_axes="warpgroup",
    )


def _piece(work: Work) -> int:
    """Tokens of one copy: the most that always lie in one page and in one block."""
    return math.gcd(work.options.page_size, work.block)


def _bring(refs, work: Work, shared: Shared, sizes: Sizes):
    """Fills the ring, for all units of the program."""
    *caches, tables_ref = refs
    rings = (shared.k, shared.k_free, shared.k_full), (shared.v, shared.v_free, shared.v_full)
    size = _piece(work)

    def unit(n, num_brought):
        unit = work.unit(n)
        blocks = work.blocks(unit)
        slots = functools.partial(_slots, tables_ref, work, unit, size)

        def block(j, num_brought):
            stage = lax.rem(num_brought, sizes.stages)
            starts = slots(j)
            for cache_ref, (ring, free, full) in zip(caches, rings, strict=True):

                @pl.when(num_brought >= sizes.stages)
                def _(free=free):
                    plgpu.barrier_wait(free.at[stage])

                for i, start in enumerate(starts):
                    plgpu.copy_gmem_to_smem(
                        cache_ref.at[pl.ds(start, size), unit.head],
                        ring.at[stage, pl.ds(i * size, size)],
                        full.at[stage],
                    )
            return num_brought + 1

        return lax.fori_loop(blocks.first, blocks.last, block, num_brought)

    num_brought = lax.fori_loop(0, work.num_turns, unit, jnp.int32(0))

    def freed(i, _):
        for _, free, _ in rings:
            plgpu.barrier_wait(free.at[lax.rem(i, sizes.stages)])

    lax.fori_loop(jnp.maximum(num_brought - sizes.stages, 0), num_brought, freed, None)


def _slots(tables_ref, work: Work, unit, size: int, j) -> list[jax.Array]:
    """Where the pieces of block j begin in the cache.

    A piece past the row's last token, or before the first that the unit sees, is another row's: the
    nearest of the row's own is read in its place.
    """
    page_size = work.options.page_size
    first = lax.div(work.options.first_seen(unit.position), size)
    last = lax.div(unit.length - 1, size)

    def slot(i):
        at = jnp.clip(j * (work.block // size) + i, first, last) * size
        page = tables_ref[unit.row, lax.div(at, page_size)]
        return pl.multiple_of(page * page_size + lax.rem(at, page_size), size)

    return [slot(i) for i in range(work.block // size)]

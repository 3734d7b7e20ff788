"""The kernel: some heads of a run of new tokens of one row, over a part of the row's cache.

Tokens times heads are the rows of its products. A latent is read once: its first A numbers are
multiplied with those of q, and are the values then; the others, which turn with the position, are
a product of their own. Where the runs of a step are few, several programs share the cache of each,
and a second kernel combines what they leave by their log-sum-exps.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.block_sizes import tuned_sizes
from sgjax.kernels_pallas.ragged_paged_attention import triton_block as tb
from sgjax.kernels_pallas.ragged_paged_attention.plan import QueryBlocks
from sgjax.kernels_pallas.tiles import next_power_of_two

MAX_SPLITS = 32
_LEAST = 16
"""Rows, columns and what is summed up, of a product on tensor cores."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How the work is cut: rows of a product (tokens times heads), cached tokens a block, warps of
    a program; programs wanted in all."""

    rows: int = 64
    block: int = 32
    warps: int = 8
    stages: int = 2
    programs: int = 132
    """What a split leaves of a run is as much as many latents: no more than a GPU does at once."""

    def num_heads(self, N: int) -> int:
        """Heads of a program."""
        return min(next_power_of_two(N), self.rows)

    def num_tokens(self, N: int) -> int:
        """The most tokens of a run."""
        return max(1, self.rows // self.num_heads(N))


def sizes(kernel: str, q, kind: str | None) -> Sizes:
    """Tuned ones where the device has them, else such that fit an A100's memory with DeepSeek's
    latents.

    Float32 products run on plain cores, unrolled: small blocks, whatever the device.
    """
    _, N, M = q.shape
    if q.dtype == jnp.float32:
        return Sizes(rows=16, block=16, warps=4)
    is_thin = kernel == "decode" and N <= _LEAST
    default = Sizes(rows=_LEAST, warps=4, programs=264) if is_thin else Sizes()
    tuned = tuned_sizes("latent_attention", kernel, N * M * q.dtype.itemsize, kind)
    return dataclasses.replace(default, **tuned)


def num_splits(num_runs: int, num_blocks: int, programs: int) -> int:
    """A power of two, so that runs (of some heads each) times splits come to about `programs`."""
    wanted = min(programs // num_runs, num_blocks, MAX_SPLITS)
    return 1 << max(0, wanted.bit_length() - 1)


def attend(
    q,
    latents,
    tables,
    runs: QueryBlocks,
    num_tokens: int,
    *,
    longest: int,
    value_size: int,
    options: tb.Options,
    sizes: Sizes,
    over=None,
):
    """The tokens of the runs, which have num_tokens at most. Without `over`, run i is of token i,
    and tokens of empty runs are zero; else tokens of no run are what they are in `over`.

    `longest` is what a row may have in its cache.
    """
    T, N, _ = q.shape
    heads = sizes.num_heads(N)
    num_runs, tiles = runs.row.shape[0], pl.cdiv(N, heads)
    splits = num_splits(num_runs * tiles, pl.cdiv(longest, sizes.block), sizes.programs)
    places = min(T, num_runs * num_tokens)  # runs of one token each are of the first ones
    inputs = (q, latents, tables, runs)
    call = functools.partial(
        pl.pallas_call,
        functools.partial(
            _kernel, splits=splits, heads=heads, num_tokens=num_tokens, value_size=value_size,
            sizes=sizes, options=options,
        ),
        grid=(tiles, num_runs, splits),
        interpret=options.interpret,
        compiler_params=plgpu.CompilerParams(num_warps=sizes.warps, num_stages=sizes.stages),
        name="latent_attention",
    )  # fmt: skip
    if splits > 1:
        parts = call(
            out_shape=(
                jax.ShapeDtypeStruct((splits, places, N, value_size), jnp.float32),
                jax.ShapeDtypeStruct((splits, places, N), jnp.float32),
            )
        )(*inputs)
        inputs = (*parts, runs)
        call = functools.partial(
            pl.pallas_call,
            _combine,
            grid=(N, num_runs, num_tokens),
            interpret=options.interpret,
            compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=1),
            name="latent_attention_combine",
        )
    result = jax.ShapeDtypeStruct((T, N, value_size), q.dtype)
    if over is None:
        return call(out_shape=result)(*inputs)
    aliases = {len(jax.tree.leaves(inputs)): 0}
    return call(out_shape=result, input_output_aliases=aliases)(*inputs, over)


@dataclasses.dataclass(frozen=True)
class _Cache:
    """One row's latents, as the kernel sees them; as `tb.Cache`, for which reads are held inside
    the row."""

    latents_ref: Any  # [slots, M]
    slots_of: tb.Cache
    value_size: int

    def values(self, slots):
        return _columns(self.latents_ref, (slots[:, None],), 0, self.value_size)

    def turned(self, slots):
        rest = self.latents_ref.shape[1] - self.value_size
        return _columns(self.latents_ref, (slots[:, None],), self.value_size, rest)


def _tile(size: int) -> int:
    """Of so many numbers, in a kernel."""
    return max(_LEAST, next_power_of_two(size))


def _columns(ref, rows, first: int, size: int):
    """`ref` [..., M] at `rows`, of its last axis [first, first + size), with zeros past these up to
    a tile's size."""
    m = jnp.arange(_tile(size))[None, :]
    index = ref.at[(*rows, first + m)]
    if m.size == size:
        return plgpu.load(index)
    mask = jnp.broadcast_to(m < size, (rows[0].size, m.size))
    return plgpu.load(index, mask=mask, other=0)


def _kernel(
    q_ref,
    latents_ref,
    tables_ref,
    runs,
    *refs,
    splits,
    heads,
    num_tokens,
    value_size,
    sizes,
    options,
):
    # q: [T, N, M]   latents: [slots, M]   tables: i32[S, C]   runs: with refs for arrays
    # refs, one split: (result to write over,) out [T, N, A]
    # refs, several:   out f32[splits, places, N, A], lse f32[splits, places, N]
    tile, split = pl.program_id(0), pl.program_id(2)
    run = pl.num_programs(1) - 1 - pl.program_id(1)  # a row's later tokens take longer: first
    row, token, position, count = (
        ref[run] for ref in (runs.row, runs.token, runs.position, runs.count)
    )
    r = jnp.arange(max(_LEAST, num_tokens * heads))
    t, n = lax.div(r, heads), tile * heads + lax.rem(r, heads)
    here = (t < num_tokens) & (t < count) & (n < q_ref.shape[1])
    a = jnp.arange(_tile(value_size))[None, :]
    own = here[:, None] & (a < value_size)

    def work():
        top, total, out = _attended(
            q_ref, latents_ref, tables_ref, (row, token, position, count), (t, n),
            (split, splits), value_size, sizes, options,
        )  # fmt: skip
        out = out / jnp.where(total > 0, total, 1.0)[:, None]
        if splits == 1:
            at = token + t[:, None], n[:, None], a
            plgpu.store(refs[-1].at[at], out.astype(refs[-1].dtype), mask=own)
            return
        out_ref, lse_ref = refs
        lse = top * options.exponent + jnp.log2(jnp.where(total > 0, total, 1.0))
        plgpu.store(lse_ref.at[split, token + t, n], lse, mask=here)
        wrote = own & (total > 0)[:, None]
        plgpu.store(out_ref.at[split, token + t[:, None], n[:, None], a], out, mask=wrote)

    pl.when(count > 0)(work)
    if len(refs) == 1:  # nothing to write over: the token has nobody else

        @pl.when(count == 0)
        def _():
            mask = (t == 0) & (n < q_ref.shape[1])
            zeros = jnp.zeros((r.size, a.size), refs[0].dtype)
            at = refs[0].at[token + t[:, None], n[:, None], a]
            plgpu.store(at, zeros, mask=mask[:, None] & (a < value_size))


def _attended(
    q_ref, latents_ref, tables_ref, run, row_of_product, part, value_size, sizes, options
):
    """The state of a run after its part of the cache: first blocks that all its tokens see whole,
    then those that causality cuts."""
    (row, token, position, count), (t, n), (split, splits) = run, row_of_product, part
    N, last_token = sizes.block, position + count - 1
    at_q = (token + jnp.minimum(t, count - 1))[:, None], jnp.minimum(n, q_ref.shape[1] - 1)[:, None]
    q = _columns(q_ref, at_q, 0, value_size)
    turned = _columns(q_ref, at_q, value_size, q_ref.shape[2] - value_size)
    where = tb.Cache(
        None, None, tables_ref, row, jnp.int32(0), jnp.int32(0), last_token, options.page_size
    )
    cache = _Cache(latents_ref, where, value_size)

    def whole(j, state):
        return _take_in(state, q, turned, cache, j * N + jnp.arange(N), None, options)

    def cut(j, state):
        at = j * N + jnp.arange(N)
        seen = at[None, :] <= (position + t)[:, None]
        return _take_in(state, q, turned, cache, at, seen, options)

    a, b = lax.div(position + 1, N), pl.cdiv(last_token + 1, N)
    first, last = jnp.int32(0), b
    if splits > 1:
        each = pl.cdiv(b, splits)
        first = jnp.minimum(split * each, b)
        last = jnp.minimum(first + each, b)
        a = jnp.clip(a, first, last)
    state = lax.fori_loop(first, a, whole, tb.start(t.size, _tile(value_size)))
    return lax.fori_loop(a, last, cut, state)


def _take_in(state, q, turned, cache: _Cache, positions, seen, options: tb.Options):
    """The state after the block at `positions`; `seen` masks its scores, None where all count."""
    top, total, out = state
    slots = cache.slots_of.slots(positions, whole=seen is None)
    values = cache.values(slots)
    scores = tb.dot(q, values.T) + tb.dot(turned, cache.turned(slots).T)
    new_top, p, shrink = tb.weigh(top, scores, seen, options)
    out = out * shrink[:, None] + tb.dot(p.astype(values.dtype), values)
    return new_top, total * shrink + p.sum(-1), out


def _combine(part_ref, lse_ref, runs, *refs):
    # part: f32[splits, places, N, A]   lse: f32[splits, places, N]   runs: with refs for arrays
    # refs: as the kernel's for one split
    n, run, t = pl.program_id(0), pl.program_id(1), pl.program_id(2)
    token, count = runs.token[run] + t, runs.count[run]
    A = part_ref.shape[-1]
    a = jnp.arange(_tile(A))

    @pl.when(t < count)
    def _():
        split = jnp.arange(part_ref.shape[0])
        lse = plgpu.load(lse_ref.at[split, token, n])
        weight = jnp.exp2(lse - lse.max(0))
        # A split that saw nothing has left no result.
        wrote = (lse > tb.NEVER * 2.0**-20)[:, None] & (a < A)[None, :]
        at = part_ref.at[split[:, None], token, n, a[None, :]]
        part = plgpu.load(at, mask=wrote, other=0)
        out = (part * weight[:, None]).sum(0) / weight.sum(0)
        plgpu.store(refs[-1].at[token, n, a], out.astype(refs[-1].dtype), mask=a < A)

    if len(refs) == 1:

        @pl.when(count == 0)
        def _():
            zeros = jnp.zeros((a.size,), refs[0].dtype)
            plgpu.store(refs[0].at[token, n, a], zeros, mask=a < A)

"""One query head of each unit, as a warpgroup of `mosaic_extend` computes it.

The two warpgroups take turns at the tensor cores: while these multiply for one, the other computes
its softmax. And within a warpgroup they multiply a block's values while the softmax of the next
block is computed.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from sgjax.kernels_pallas.ragged_paged_attention import triton_block as tb
from sgjax.kernels_pallas.ragged_paged_attention.mosaic_work import (
    BOTH,
    TOKENS,
    Blocks,
    Shared,
    Unit,
    Work,
)


def compute(q_ref, out_ref, work: Work, shared: Shared):
    """This warpgroup's head of all units of the program."""
    me = lax.axis_index("warpgroup")
    num_turns = work.num_turns

    def head_of(unit):
        return jnp.minimum(unit.pair * BOTH + me, q_ref.shape[2] - 1)

    def ask(n):
        """Has the n-th unit's queries brought."""
        unit = work.unit(n)
        tokens = q_ref.at[pl.ds(unit.token, TOKENS), unit.head, head_of(unit)]
        plgpu.copy_gmem_to_smem(tokens, shared.q.at[lax.rem(n, 2), me], shared.q_full.at[me])

    def unit(n, num_done):
        unit = work.unit(n)
        head = Head(work, unit, work.blocks(unit), shared, shared.q.at[lax.rem(n, 2), me], num_done)
        plgpu.barrier_wait(shared.q_full.at[me])
        state = head.through_keys()
        # The last unit's result is read from the place that the next one's queries will have.
        plgpu.wait_smem_to_gmem(0)
        pl.when(n + 1 < num_turns)(functools.partial(ask, n + 1))
        out = head.result(state).astype(q_ref.dtype)
        _write(out, out_ref.at[:, unit.head, head_of(unit)], unit, head.q, shared.ragged.at[me])
        return num_done + head.blocks.last - head.blocks.first

    pl.when(num_turns > 0)(functools.partial(ask, 0))
    pl.when(me == 1)(functools.partial(plgpu.barrier_arrive, shared.turn.at[0]))
    lax.fori_loop(0, num_turns, unit, jnp.int32(0))
    pl.when(me == 0)(functools.partial(plgpu.barrier_wait, shared.turn.at[0]))
    plgpu.wait_smem_to_gmem(0)


@dataclasses.dataclass(frozen=True)
class Head:
    """One head of one unit."""

    work: Work
    unit: Unit
    blocks: Blocks
    shared: Shared
    q: Any
    num_done: jax.Array
    """Blocks of the units before: which place of the ring a block has goes on from there."""

    @property
    def options(self) -> tb.Options:
        return self.work.options

    def stage(self, j):
        """The place of block j in the ring."""
        return lax.rem(self.num_done + j - self.blocks.first, self.shared.k.shape[0])

    def through_keys(self):
        """All blocks' scores, and all but the last one's values."""
        blocks, H = self.blocks, self.q.shape[-1]
        state = self.step(
            (
                self.laid_out(jnp.full((TOKENS,), tb.NEVER, jnp.float32), rows=True),
                self.laid_out(jnp.zeros((TOKENS,), jnp.float32), rows=True),
                self.laid_out(jnp.zeros((TOKENS, H), jnp.float32)),
                None,
            ),
            keys=blocks.first,
            cut=True,
        )

        def block(j, state, *, cut):
            return self.step(state, keys=j, values=j - 1, cut=cut)

        first = blocks.first + 1
        whole, cut = jnp.maximum(blocks.whole, first), jnp.maximum(blocks.cut, first)
        if self.options.window is not None:
            state = lax.fori_loop(first, whole, functools.partial(block, cut=True), state)
        state = lax.fori_loop(whole, cut, functools.partial(block, cut=False), state)
        return lax.fori_loop(cut, blocks.last, functools.partial(block, cut=True), state)

    def result(self, state):
        """The weighted mean of all values."""
        _, total, out, _ = self.step(state, values=self.blocks.last - 1)
        return out * lax.broadcast_in_dim(1 / total, out.shape, [0])

    def step(self, state, *, keys=None, values=None, cut=False):
        """Multiplies the keys of one block and the values of another, and takes in the former's
        scores while the latter are multiplied; None: no block's. `cut` says that some tokens may
        not see all of the former. The state is the highest scores, the sums of numerators, the
        weighted values, and the numerators that are not multiplied with values yet."""
        top, total, out, p = state
        shared, stage = self.shared, self.stage
        if keys is not None:
            plgpu.barrier_wait(shared.k_full.at[stage(keys)])

        def multiply(scores_ref, out_ref):
            weighted = Weighted(out_ref, out, self.options.interpret)
            plgpu.barrier_wait(shared.turn.at[self.me])
            if keys is not None:
                plgpu.wgmma(scores_ref, self.q, shared.k.at[stage(keys)].transpose((1, 0)))
            if values is not None:
                weighted.add(p, shared.v.at[stage(values)])
            plgpu.barrier_arrive(shared.turn.at[1 - self.me])
            scored = None
            if keys is not None:
                scores = plgpu.wgmma_accumulator_load(scores_ref, wait_n=int(values is not None))
                plgpu.barrier_arrive(shared.k_free.at[stage(keys)])
                scored = self.take_in(self.masked(scores, keys) if cut else scores, top, total)
                # The compiler keeps what is before this wait from sinking below the next one.
                plgpu.barrier_wait(shared.v_full.at[stage(keys)])
                if cut or self.options.window is not None:
                    self.clean(keys)
            new_out = weighted.get()
            if values is not None:
                plgpu.barrier_arrive(shared.v_free.at[stage(values)])
            return scored, new_out

        accumulators = plgpu.ACC((TOKENS, self.work.block)), plgpu.ACC(out.shape)
        scored, out = pl.run_scoped(multiply, *accumulators)
        if scored is None:
            return top, total, out, None
        top, total, shrink, p = scored
        out = out * lax.broadcast_in_dim(shrink, out.shape, [0])
        return top, total, out, p.astype(self.q.dtype)

    def take_in(self, scores, top, total):
        """The new highest scores and sums, by how much the old values shrink, the numerators."""
        exponent = self.options.exponent
        new_top = jnp.maximum(top, scores.max(axis=1))
        p = jnp.exp2(
            scores * exponent - lax.broadcast_in_dim(new_top * exponent, scores.shape, [0])
        )
        shrink = jnp.exp2((top - new_top) * exponent)
        return lax.optimization_barrier((new_top, total * shrink + p.sum(axis=1), shrink, p))

    def masked(self, scores, j):
        """Scores of block j, where a token sees what they are of."""
        token = self.unit.position + self.iota(scores.shape, 0)
        at = j * self.work.block + self.iota(scores.shape, 1)
        seen = at <= token
        if self.options.window is not None:
            seen &= at > token - self.options.window
        return jnp.where(seen, scores, tb.NEVER)

    def clean(self, j):
        """Puts zeros where block j has values that are another row's: they may be NaN, which would
        come through a weight of zero. Each warpgroup does so for half of a head."""
        first = j * self.work.block
        lo = self.options.first_seen(self.unit.position)

        @pl.when((first < lo) | (first + self.work.block > self.unit.length))
        def _():
            half = self.q.shape[-1] // BOTH
            begin = pl.multiple_of(self.me * half, half)
            half_ref = self.shared.v.at[self.stage(j), :, pl.ds(begin, half)]
            values = self.laid_out(half_ref[...])
            at = first + self.iota(values.shape, 0)
            own = (at >= lo) & (at < self.unit.length)
            half_ref[...] = jnp.where(own, values, jnp.zeros_like(values))
            plgpu.commit_smem()
            plgpu.barrier_arrive(self.shared.clean)
            plgpu.barrier_wait(self.shared.clean)

    @property
    def me(self):
        return lax.axis_index("warpgroup")

    def laid_out(self, x, rows: bool = False):
        """x as the tensor cores have it; `rows`: a value for each of its rows."""
        if self.options.interpret:
            return x
        layout = plgpu.Layout.WGMMA
        return plgpu.layout_cast(x, layout.reduce(1) if rows else layout)

    def iota(self, shape, dimension: int):
        if self.options.interpret:
            return lax.broadcasted_iota(jnp.int32, shape, dimension)
        return plgpu.broadcasted_iota(jnp.int32, shape, dimension, layout=plgpu.Layout.WGMMA)


class Weighted:
    """Sums of weighted values, in registers that products are added to while other work goes on. In
    the interpreter, which knows no product of what is in registers, a value."""

    def __init__(self, ref, value, interpret: bool):
        self.ref, self.value = ref, value if interpret else None
        if not interpret:
            ref[...] = value

    def add(self, p, values_ref):
        if self.value is None:
            plgpu.wgmma(self.ref, p, values_ref)
        else:
            product = jnp.dot(p, values_ref[...], preferred_element_type=jnp.float32)
            self.value = self.value + product

    def get(self):
        """Waits for the products."""
        return self.ref[...] if self.value is None else self.value


def _write(out, out_ref, unit: Unit, full_ref, ragged_ref):
    """A full block goes out in one copy, another one token by token: what follows is another's."""
    full = unit.count - unit.lead == TOKENS

    @pl.when(full)
    def _():
        full_ref[...] = out
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(full_ref, out_ref.at[pl.ds(unit.token, TOKENS)])

    @pl.when(~full)
    def _():
        ragged_ref[...] = out
        plgpu.commit_smem()

        def token(t, _):
            to = out_ref.at[pl.ds(unit.token + t, 1)]
            plgpu.copy_smem_to_gmem(ragged_ref.at[pl.ds(t, 1)], to)

        lax.fori_loop(unit.lead, unit.count, token, None)

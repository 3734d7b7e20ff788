"""The tiles that a product of few rows reads: of the tokens, and of the weight, slice by slice."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental.pallas import triton as plgpu

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


@dataclasses.dataclass(frozen=True)
class Cut:
    """How the width K is cut: slices of `num_steps` steps each, end to end, and a rest after them,
    of one step a slice at most."""

    K: int
    T: int
    """Tokens, padded."""
    columns: int
    width: int
    slices: int
    step: int
    num_steps: int

    @classmethod
    def of(cls, T: int, K: int, sizes: Sizes) -> "Cut":
        T = next_power_of_two(T)
        width = max(8, sizes.width, T)
        # Tensor cores want steps of 16. A thread reads at least two values of the tokens at a time:
        # what is less than four bytes is not read ahead.
        most = min(sizes.depth // 16, width * sizes.depth // (64 * sizes.warps))
        slices = max(1, min(width // T, most))
        num_steps = K // sizes.depth
        return cls(K, T, sizes.columns, width, slices, sizes.depth // slices, num_steps)

    @property
    def rest(self) -> int:
        """Where the rest starts."""
        return self.slices * self.num_steps * self.step

    def start(self, i):
        """Where step i of a slice starts."""
        return lambda part: (part * self.num_steps + i) * self.step

    def start_of_rest(self, part):
        return self.rest + part * self.step

    def sum_of_slices(self, products):
        """[columns, T] of what each slice of the weight gives with its own slice of the tokens."""
        of_weight = lax.div(jnp.arange(self.slices * self.columns)[:, None], self.columns)
        of_tokens = lax.div(jnp.arange(self.width)[None, :], self.T)
        own = jnp.where(of_weight == of_tokens, products, 0.0)
        own = own.reshape(-1, self.width // self.T, self.T).sum(1)
        return own.reshape(self.slices, self.columns, self.T).sum(0)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The tokens that are multiplied, slice after slice: row s * T + t is slice s of token t."""

    x_ref: Any  # [T, K]
    cut: Cut
    delta_ref: Any = None  # [T, K], or None
    scale_ref: Any = None  # [K], or None
    total_ref: Any = None  # [T, K], where there is delta
    writes: Any = False
    """Whether this is the program that writes the total."""
    only: Any = None
    """The one row of x that is multiplied; None: all of them."""

    def tile(self, start, whole: bool, squares):
        """[width, step] of what is multiplied, and `squares` with those of its norm, if it has one.

        What the norm divides by is known at the end: a token's sum of squares.
        """
        row = jnp.arange(self.cut.width)[:, None]
        part, token = lax.div(row, self.cut.T), lax.rem(row, self.cut.T)
        k = start(part) + jnp.arange(self.cut.step)[None, :]
        T, K = self.x_ref.shape
        if self.only is not None:
            T = 1
        own = jnp.broadcast_to((token < T) & (part < self.cut.slices), k.shape)
        if not whole:
            own &= k < K
        at = jnp.broadcast_to(token if self.only is None else self.only + token, k.shape), k
        x = plgpu.load(self.x_ref.at[at], mask=own, other=0)
        if self.delta_ref is None:
            return x, squares
        total = x + plgpu.load(self.delta_ref.at[at], mask=own, other=0)
        plgpu.store(self.total_ref.at[at], total, mask=own & self.writes)
        wide = total.astype(jnp.float32)
        scale = plgpu.load(self.scale_ref.at[k], mask=own, other=0)
        scaled = (total.astype(scale.dtype) * scale).astype(total.dtype)
        return scaled, squares + wide * wide


@dataclasses.dataclass(frozen=True)
class Weight:
    """A program's columns of the weight, slice after slice."""

    ref: Any  # [K, parts, N], or [N, K]; with `expert` one axis more before these
    cut: Cut
    first: Any
    expert: Any = None
    """Whose weight it is, of many experts'."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.ref.shape if self.expert is None else self.ref.shape[1:]

    @property
    def columns(self):
        return self.first + jnp.arange(self.cut.columns)

    def tile(self, part, start, whole: bool):
        """[slices * columns, step]"""
        place, step = jnp.arange(self.cut.slices * self.cut.columns), jnp.arange(self.cut.step)
        n = self.first + lax.rem(place, self.cut.columns)
        begin = start(lax.div(place, self.cut.columns))
        if len(self.shape) == 2:
            return self._load(n[:, None], begin[:, None] + step[None, :], None, whole)
        return self._load(n[None, :], begin[None, :] + step[:, None], part, whole).T

    def of_columns(self, ref, part):
        """[columns, 1] of an array [parts, N]."""
        at = ref.at[self._of_expert(part, self.columns)]
        return plgpu.load(at, mask=self.columns < ref.shape[-1], other=0)[:, None]

    def _of_expert(self, *index):
        return index if self.expert is None else (self.expert, *index)

    def _load(self, n, k, part, whole: bool):
        """With a mask where it takes one: whole tiles are most, and are read without."""
        n = jnp.broadcast_to(n, k.shape)
        if len(self.shape) == 2:
            (N, K), at = self.shape, (n, k)
        else:
            (K, _, N), at = self.shape, (k, part, n)
        at = self._of_expert(*at)
        own = [n < N] * bool(N % self.cut.columns) + [k < K] * (not whole)
        if not own:
            return plgpu.load(self.ref.at[at])
        return plgpu.load(self.ref.at[at], mask=functools.reduce(jnp.logical_and, own), other=0)

"""Named cases of ragged paged attention, real shapes and odd ones: for tests and benchmarks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of the op, by its sizes.

    `decode` holds the lengths of the decode rows (their one new token counted in), `extend` the
    pairs (tokens cached before, new tokens) of the rows after them. Rows and tokens are padded to
    `S` and `T` where these are given.
    """

    name: str
    decode: tuple[int, ...] = ()
    extend: tuple[tuple[int, int], ...] = ()
    kv_heads: int = 2
    group: int = 4
    head: int = 64
    page_size: int = 16
    window: int | None = None
    soft_cap: float | None = None
    S: int | None = None
    T: int | None = None

    @property
    def only_decode(self) -> bool:
        return not self.extend

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens in the cache of every row, the new ones counted in."""
        return self.decode + tuple(before + new for before, new in self.extend)

    @property
    def num_tokens(self) -> tuple[int, ...]:
        """New tokens of every row."""
        return (1,) * len(self.decode) + tuple(new for _, new in self.extend)

    @property
    def static(self) -> dict:
        """The keyword arguments of the op that are compiled in."""
        return {
            "page_size": self.page_size,
            "scale": self.head**-0.5,
            "window": self.window,
            "soft_cap": self.soft_cap,
            "only_decode": self.only_decode,
        }


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The arrays of one call."""

    q: Array
    k: Array
    v: Array
    rows: RaggedRows


def make_inputs(case: Case, seed: int, dtype=jnp.float32) -> Inputs:
    """Random arrays for `case`, its pages shuffled; slots of no token hold NaN.

    Table entries past a row's pages name page 0, which is all NaN: who reads past a row shows it.
    """
    host = np.random.default_rng(seed)
    S, T = case.S or len(case.lengths), case.T or sum(case.num_tokens)
    if case.only_decode:
        T = S
    pages = [-(-length // case.page_size) for length in case.lengths]
    order = host.permutation(sum(pages)).astype(np.int32) + 1
    tables = np.zeros((S, max(pages) + 1), np.int32)
    used = np.zeros((sum(pages) + 1) * case.page_size, bool)
    for row, (length, own) in enumerate(
        zip(case.lengths, np.split(order, np.cumsum(pages)[:-1]), strict=True)
    ):
        tables[row, : len(own)] = own
        slots = (own[:, None] * case.page_size + np.arange(case.page_size)).reshape(-1)
        used[slots[:length]] = True
    rows = RaggedRows(
        tables=jnp.asarray(tables),
        starts=_column(np.cumsum((0, *case.num_tokens))[:-1], S),
        num_tokens=_column(case.num_tokens, S),
        lengths=_column(case.lengths, S),
        num_decode=jnp.int32(len(case.decode)),
    )
    keys = jax.random.split(jax.random.key(seed), 3)
    shape = (len(used), case.kv_heads, case.head)
    k, v = (
        jnp.where(used[:, None, None], jax.random.normal(key, shape, dtype), jnp.nan).astype(dtype)
        for key in keys[:2]
    )
    q = jax.random.normal(keys[2], (T, case.kv_heads, case.group, case.head), dtype)
    return Inputs(q, k, v, rows)


def _column(values, size: int) -> Array:
    """Int32 values, padded with zeros."""
    column = np.zeros(size, np.int32)
    column[: len(values)] = values
    return jnp.asarray(column)

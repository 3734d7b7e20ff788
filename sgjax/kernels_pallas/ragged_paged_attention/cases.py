"""Named cases of ragged paged attention, real shapes and odd ones: for tests and benchmarks."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, SharedPrefixes
from sgjax.kernels_pallas.ragged_paged_attention.view import View


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of the op, by its sizes.

    `decode` holds the lengths of the decode rows (their one new token counted in), `extend` the
    pairs (tokens cached before, new tokens) of the rows after them. `groups` holds pairs (decode
    rows, tokens that they share) from the first row on; where it is empty, the call says nothing of
    sharing. Rows, tokens and tables are padded to `S`, `T` and `C` where these are given.
    """

    name: str
    decode: tuple[int, ...] = ()
    extend: tuple[tuple[int, int], ...] = ()
    groups: tuple[tuple[int, int], ...] = ()
    kv_heads: int = 2
    group: int = 4
    head: int = 64
    page_size: int = 16
    window: int | None = None
    chunk: int | None = None
    soft_cap: float | None = None
    is_causal: bool = True
    has_sinks: bool = False
    S: int | None = None
    T: int | None = None
    C: int | None = None

    @property
    def only_decode(self) -> bool:
        """Whether the step is one of decode rows alone."""
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
    def shared(self) -> tuple[tuple[int, int], ...]:
        """Of every row the first row of its group, and how many tokens they share."""
        shared: list[tuple[int, int]] = []
        for num_rows, num_tokens in self.groups:
            shared += [(len(shared), num_tokens)] * num_rows
        return (*shared, *((row, 0) for row in range(len(shared), len(self.lengths))))

    @property
    def sinks(self) -> Array | None:
        """Scores between -2 and 2, different for each query head."""
        if not self.has_sinks:
            return None
        count = self.kv_heads * self.group
        return jnp.asarray(2 * np.cos(np.arange(count, dtype=np.float32)).reshape(-1, self.group))

    @property
    def view(self) -> View:
        """What its tokens see."""
        return View(self.window, self.chunk, self.is_causal)

    @property
    def static(self) -> dict:
        """The keyword arguments of the op that are compiled in."""
        return {
            "page_size": self.page_size,
            "scale": self.head**-0.5,
            "window": self.window,
            "chunk": self.chunk,
            "soft_cap": self.soft_cap,
            "is_causal": self.is_causal,
            "sinks": self.sinks,
            "only_decode": self.only_decode,
        }


GROUPS = (
    (33, 17, 30, *range(49, 54), *range(1, 17), *range(17, 50)),
    (),
    ((1, 32), (2, 16), (5, 48), (16, 0), (33, 16)),
)
"""Lengths of decode rows, no longer rows, and groups of 1, 2, 5, 16 and 33 of the former."""
SMALL = (
    Case("decode at the edges of pages", (1, 15, 16, 17, 127, 128, 129), S=8, kv_heads=1, group=1),
    Case("decode with a window", (5, 33, 34, 200), group=3, head=80, window=33),
    Case("decode with pages of one token", (1, 2, 70), group=8, head=128, page_size=1),
    Case("decode with a soft cap", (63, 64, 65, 129), page_size=64, soft_cap=2.0),
    Case("decode in tables of one page", (3, 16, 9), S=4, C=1),
    Case("padding alone", S=4),
    Case("extend from nothing", extend=((0, 1), (0, 63), (0, 64), (0, 65))),
    Case(
        "extend after a prefix", extend=((16, 16), (15, 1), (127, 2), (130, 75)), group=3, head=80
    ),
    Case("extend in a short window", extend=((0, 100), (90, 70)), window=10, page_size=64),
    Case("extend in a long window", extend=((150, 90),), window=100, kv_heads=1, group=1),
    Case("decode in chunks", (1, 32, 33, 64, 65, 200), group=3, head=80, chunk=32),
    Case("decode in chunks that cut pages", (5, 39, 41, 300), page_size=64, chunk=40),
    Case("extend in short chunks", extend=((0, 100), (90, 70)), chunk=10, page_size=64),
    Case("extend in long chunks", extend=((150, 90),), chunk=100, kv_heads=1, group=1),
    Case("extend at the edges of chunks", extend=((48, 96), (47, 1), (96, 48)), chunk=48),
    Case("extend a row that waits", extend=((40, 0), (3, 4)), S=4, T=16, group=8),
    Case("whole texts", (1,), ((0, 90), (0, 2), (0, 64)), S=8, T=180, is_causal=False),
    Case("whole texts in a window", (1,), ((0, 90), (0, 150)), window=9, is_causal=False),
    Case("whole texts in a long window", (), ((0, 200),), window=70, group=1, is_causal=False),
    Case("mixed", (40, 1, 16), ((0, 20), (37, 9)), S=8, T=48, soft_cap=2.0, page_size=1),
    Case("mixed in a window", (40, 100), ((0, 20), (70, 33)), window=24, group=16, head=32),
    Case("mixed in chunks", (40, 100), ((0, 20), (70, 33)), chunk=24, group=16, head=32),
    Case("mixed in chunks of one token", (1, 9), ((5, 20),), S=4, chunk=1),
    Case("mixed in tables of one page", (7, 1), ((0, 12), (3, 2)), C=1, T=24),
    Case("mixed with more rows than tokens", (9, 30), ((0, 3),), S=16, T=8),
    Case("shared, the last token apart", (33, 33, 33), groups=((3, 32),), kv_heads=1),
    Case("shared by one", (40, 7), groups=((1, 32),), S=4),
    Case("shared by groups of many sizes", *GROUPS, S=64, kv_heads=1, group=2, head=32),
    Case("shared, long and soft capped", (300, 257, 400), groups=((3, 256),), soft_cap=2.0),
    Case("shared, odd sizes", (15, 20, 9), groups=((3, 7),), group=3, head=80, page_size=1),
    Case("shared, in a window", (70, 90, 40), groups=((3, 32),), window=24),
    Case("shared, in chunks", (70, 90, 40), groups=((3, 32),), chunk=24),
    Case("decode with sinks", (5, 33, 200, 64), S=8, group=3, has_sinks=True),
    Case("decode with sinks in a window", (5, 33, 200), window=16, has_sinks=True),
    Case("decode with sinks in chunks", (5, 33, 200), chunk=16, has_sinks=True),
    Case("extend with sinks", extend=((0, 20), (130, 75)), group=3, head=80, has_sinks=True),
    Case("mixed with sinks, capped", (40, 7), ((0, 20),), S=4, soft_cap=2.0, has_sinks=True),
    Case("shared, with sinks", (40, 33, 90), groups=((3, 32),), S=4, has_sinks=True),
    Case("shared, mixed", (40, 1, 70, 66), ((0, 20), (37, 9)), ((2, 0), (2, 64)), S=8, T=48),
)
"""Odd shapes, small enough for an interpreter."""

RAGGED = (
    tuple(401 + 13 * row for row in range(8)) + tuple(2100 + 7 * row for row in range(100)),
    (),
    ((3, 400), (5, 432), (37, 2000), (1, 2064), (62, 1024)),
)
"""Lengths of decode rows, no longer rows, and groups of the former."""
llama_8b = functools.partial(Case, kv_heads=8, group=4, head=128)
REAL = (
    llama_8b("decode 1 x 1024", (1024,)),
    llama_8b("decode 8 x 1024", (1024,) * 8),
    llama_8b("decode 8 x 8192", (8192,) * 8),
    llama_8b("decode 32 x 1024", (1024,) * 32),
    llama_8b("decode 64 x 2048", (2048,) * 64),
    llama_8b("decode 128 x 1024", (1024,) * 128),
    llama_8b("decode 256 x 1024", (1024,) * 256),
    llama_8b("extend 1 x 8192", extend=((0, 8192),)),
    llama_8b("extend 8 x 2048", extend=((0, 2048),) * 8),
    llama_8b("extend 2048 after 8192", extend=((8192, 2048),)),
    llama_8b("mixed 64 x 1024, 1 x 2048", (1024,) * 64, ((0, 2048),)),
    llama_8b("shared 256 x (4096 + 80)", (4176,) * 256, groups=((256, 4096),)),
    llama_8b("shared tree 16 x 16 x (1536 + 96)", (1632,) * 256, groups=((16, 1536),) * 16),
    llama_8b("shared by ragged groups", *RAGGED),
)
"""Shapes of an 8B Llama that is served on one GPU."""


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
    C = case.C or max(pages, default=0) + 1
    tables = np.zeros((S, C), np.int32)
    num_used = _fill(tables, case, pages, host)
    used = np.zeros((num_used + 1) * case.page_size, bool)
    for table, length in zip(tables, case.lengths, strict=False):
        used[(table[:, None] * case.page_size + np.arange(case.page_size)).reshape(-1)[:length]] = 1
    firsts, shared = zip(*case.shared, strict=True) if case.lengths else ((), ())
    rows = RaggedRows(
        tables=jnp.asarray(tables),
        starts=_column(np.cumsum((0, *case.num_tokens))[:-1], S),
        num_tokens=_column(case.num_tokens, S),
        lengths=_column(case.lengths, S),
        num_decode=jnp.int32(len(case.decode)),
        shared=SharedPrefixes(_column(firsts, S), _column(shared, S)) if case.groups else None,
    )
    shape = (len(used), case.kv_heads, case.head)
    k, v = (host.standard_normal(shape, np.float32) for _ in range(2))
    k[~used] = v[~used] = np.nan
    q = host.standard_normal((T, case.kv_heads, case.group, case.head), np.float32)
    q, k, v = (jnp.asarray(x.astype(dtype)) for x in (q, k, v))
    return Inputs(q, k, v, rows)


def _fill(tables: np.ndarray, case: Case, pages: list[int], host: np.random.Generator) -> int:
    """Gives every row its pages, shuffled, those that it shares from the first row of its group.
    Returns how many there are; page 0 is none of them."""
    shared = [num_tokens // case.page_size for _, num_tokens in case.shared]
    own = [
        count - (num_shared if first < row else 0)
        for row, (count, num_shared, (first, _)) in enumerate(
            zip(pages, shared, case.shared, strict=True)
        )
    ]
    order = host.permutation(sum(own)).astype(np.int32) + 1
    for row, (first, _) in enumerate(case.shared):
        tables[row, : shared[row]] = tables[first, : shared[row]]
        end = sum(own[: row + 1])
        tables[row, pages[row] - own[row] : pages[row]] = order[end - own[row] : end]
    return sum(own)


def _column(values, size: int) -> Array:
    """Int32 values, padded with zeros."""
    column = np.zeros(size, np.int32)
    column[: len(values)] = values
    return jnp.asarray(column)

"""Named cases of latent attention, real shapes and odd ones: for tests and benchmarks."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.kernels_pallas.ragged_paged_attention import cases as paged


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of the op, by its sizes; rows are those of a case of ragged paged attention."""

    name: str
    decode: tuple[int, ...] = ()
    extend: tuple[tuple[int, int], ...] = ()
    heads: int = 16
    value_size: int = 32
    turned: int = 16
    """Numbers of a latent that are of keys alone."""
    page_size: int = 16
    S: int | None = None
    T: int | None = None
    C: int | None = None

    @property
    def size(self) -> int:
        """M: numbers of a latent."""
        return self.value_size + self.turned

    @property
    def paged(self) -> paged.Case:
        """The same rows, with a kv head for the latents."""
        return paged.Case(
            self.name,
            self.decode,
            self.extend,
            kv_heads=1,
            group=self.heads,
            head=self.size,
            page_size=self.page_size,
            S=self.S,
            T=self.T,
            C=self.C,
        )

    @property
    def only_decode(self) -> bool:
        return self.paged.only_decode

    @property
    def static(self) -> dict:
        """The keyword arguments of the op that are compiled in."""
        return {
            "value_size": self.value_size,
            "page_size": self.page_size,
            "scale": self.size**-0.5,
            "only_decode": self.only_decode,
        }


SMALL = (
    Case("decode at the edges of pages", (1, 15, 16, 17, 127, 128, 129), S=8, heads=4),
    Case("decode, odd sizes", (5, 33, 70), heads=20, value_size=24, turned=8, page_size=4),
    Case("decode with pages of one token", (1, 2, 70), heads=3, page_size=1),
    Case("decode in tables of one page", (3, 16, 9), S=4, C=1),
    Case("decode of more heads than a program has", (40, 3), heads=80, S=4),
    Case("padding alone", S=4),
    Case("extend from nothing", extend=((0, 1), (0, 31), (0, 33)), heads=4),
    Case("extend after a prefix", extend=((16, 16), (15, 1), (67, 2), (40, 35)), heads=20),
    Case("extend a row that waits", extend=((40, 0), (3, 4)), S=4, T=16, heads=8),
    Case("mixed", (40, 1, 16), ((0, 20), (37, 9)), S=8, T=48, page_size=1),
    Case("mixed with more rows than tokens", (9, 30), ((0, 3),), S=16, T=8, heads=4),
)
"""Odd shapes, small enough for an interpreter."""

deepseek = functools.partial(Case, value_size=512, turned=64)
REAL = tuple(
    deepseek(f"{name}, {heads} heads", *rows, heads=heads)
    for heads in (128, 16)
    for name, rows in {
        "decode 1 x 1024": ((1024,),),
        "decode 64 x 1024": ((1024,) * 64,),
        "decode 64 x 4096": ((4096,) * 64,),
        "decode 8 x 8192": ((8192,) * 8,),
        "extend 1 x 2048": ((), ((0, 2048),)),
        "extend 512 after 8192": ((), ((8192, 512),)),
        "mixed 64 x 1024, 1 x 512": ((1024,) * 64, ((0, 512),)),
    }.items()
)
"""Shapes of DeepSeek V2 and V3, on one GPU and on each of eight; the latter are V2-Lite's, too."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The arrays of one call."""

    q: Array
    latents: Array
    rows: RaggedRows


def make_inputs(case: Case, seed: int, dtype=jnp.float32) -> Inputs:
    """Random arrays for `case`, its pages shuffled; slots of no token hold NaN."""
    inputs = paged.make_inputs(dataclasses.replace(case.paged, head=1, group=1), seed)
    host = np.random.default_rng(seed)
    unused = np.isnan(np.asarray(inputs.k)[:, 0, 0])
    latents = host.standard_normal((len(unused), case.size), np.float32)
    latents[unused] = np.nan
    q = host.standard_normal((inputs.q.shape[0], case.heads, case.size), np.float32)
    return Inputs(jnp.asarray(q.astype(dtype)), jnp.asarray(latents.astype(dtype)), inputs.rows)

"""Attention of ragged rows of new tokens over a paged cache: the contract, and its dispatch."""

import dataclasses

import jax
from jaxtyping import Array, Float, Int32

from sgjax.kernels_pallas.dispatch import implementation_of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SharedPrefixes:
    """Which decode rows begin with the same pages: these can be read once for all of them.

    Rows of a group lie next to each other. Row s is of the group that begins at row first[s], and
    the first lengths[s] tokens of its cache lie where that row has them: with n = lengths[s] // B,
    a whole number of pages, `tables[s, :n] == tables[first[s], :n]`. All rows of a group share as
    many tokens, and each has more. A row that shares nothing has lengths 0, whatever its first is.

    It is but an offer, which changes no result: how the work is cut is computed on the device, and
    what finds no room there is read by each row for itself.
    """

    first: Int32[Array, "S"]
    lengths: Int32[Array, "S"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RaggedRows:
    """Which tokens of a step belong to which row, and where each row's keys and values lie.

    Row s owns the tokens [starts[s], starts[s] + num_tokens[s]) of the step; they are the last
    num_tokens[s] of lengths[s] tokens in its cache (written already). Token i of the cache lies in
    slot `tables[s, i // B] * B + i % B`. Rows that pad the step have num_tokens 0 and lengths 0.
    The first num_decode rows have exactly one token each, at starts[s] == s. `shared` says which of
    them begin alike; None says that none do, and costs nothing.
    """

    tables: Int32[Array, "S C"]
    starts: Int32[Array, "S"]
    num_tokens: Int32[Array, "S"]
    lengths: Int32[Array, "S"]
    num_decode: Int32[Array, ""]
    shared: SharedPrefixes | None = None


def ragged_paged_attention(
    q: Float[Array, "T K G H"],
    k: Float[Array, "slots K H"],
    v: Float[Array, "slots K H"],
    rows: RaggedRows,
    *,
    page_size: int,
    scale: float,
    window: int | None = None,
    chunk: int | None = None,
    soft_cap: float | None = None,
    is_causal: bool = True,
    sinks: Float[Array, "K G"] | None = None,
    only_decode: bool = False,
    implementation: str | None = None,
) -> Float[Array, "T K G H"]:
    """Attention of every new token to its row's cache, up to and including itself; to all of it
    where not `is_causal`: then a row's new tokens are all that it has, and none are shared.

    `window` lets a token see itself and the window - 1 tokens before it (and, where not causal,
    after it); `chunk`, where causal, those before it whose position // chunk is its own. Shared
    prefixes are not used then, since rows of different lengths see different parts. `soft_cap`
    makes scores soft_cap * tanh(score / soft_cap). `sinks` are scores, one a query head, of
    something that every token sees and that has no value: they count in softmax's denominator only
    (https://arxiv.org/abs/2309.17453). Softmax and sums are float32; the result has q's dtype and
    is zero for tokens of no row. `only_decode` promises statically that every row has at most one
    token (T == S) and all rows that have one are decode rows. `implementation` is "reference",
    "triton" or None: "triton" where JAX's default devices are CUDA's, "reference" elsewhere. The
    op works on one device's heads: over a mesh it is called inside `shard_map(check_vma=False)`.
    """
    module = implementation_of(__name__, implementation)
    if chunk is not None and (window is not None or not is_causal):
        raise ValueError(
            f"chunk = {chunk} is for causal attention without a window, but window = {window} and "
            f"is_causal = {is_causal} were given."
        )
    if only_decode and q.shape[0] != rows.lengths.shape[0]:
        raise ValueError(
            f"A step of decode rows only has one token a row, but {q.shape[0]} tokens and "
            f"{rows.lengths.shape[0]} rows were given: pad both alike, or pass only_decode=False."
        )
    return module.ragged_paged_attention(
        q,
        k,
        v,
        rows,
        page_size=page_size,
        scale=scale,
        window=window,
        chunk=chunk,
        soft_cap=soft_cap,
        is_causal=is_causal,
        sinks=sinks,
        only_decode=only_decode,
    )

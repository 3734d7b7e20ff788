"""Latent attention on NVIDIA GPUs: Pallas kernels that lower to Triton.

A token's heads all read the same latents, so they are the rows of a product together: a program
takes some heads of a few tokens of one row, and a part of the row's cache. Decode rows and longer
ones are cut differently, by two launches of one kernel, into one result.
"""

import jax.numpy as jnp

from sgjax.kernels_pallas.block_sizes import device_kind
from sgjax.kernels_pallas.latent_attention import triton_runs
from sgjax.kernels_pallas.latent_attention.triton_runs import Sizes
from sgjax.kernels_pallas.ragged_paged_attention import triton_block as tb
from sgjax.kernels_pallas.ragged_paged_attention.plan import QueryBlocks, query_blocks


def latent_attention(
    q,
    latents,
    rows,
    *,
    value_size,
    page_size,
    scale,
    only_decode,
    kind=None,
    interpret=False,
):
    """The contract. q and the latents have one dtype: bfloat16, float16 or float32.

    `kind` is the device's whose block sizes are taken; None: the one that JAX computes on.
    `interpret` runs the kernels in Pallas's interpreter, on any platform.
    """
    if q.dtype != latents.dtype:
        raise TypeError(
            f"q is {q.dtype}, the cache {latents.dtype}: the Triton kernels want one dtype for "
            "both. Cast q, or keep the cache in the dtype of the activations."
        )
    kind = kind or device_kind()
    options = tb.Options(page_size, scale, interpret=interpret)
    how = {"value_size": value_size, "options": options}
    result = None
    if not only_decode:
        sizes = triton_runs.sizes("extend", q, kind)
        result = extend(q, latents, rows, sizes=sizes, **how)
    sizes = triton_runs.sizes("decode", q, kind)
    return decode(q, latents, rows, sizes=sizes, over=result, **how)


def decode(q, latents, rows, *, value_size, options: tb.Options, sizes: Sizes, over=None):
    """The tokens of the first num_decode rows; the others are zero, or what they are in `over`."""
    n = min(q.shape[0], rows.lengths.shape[0])
    each = jnp.arange(n, dtype=jnp.int32)
    lengths = rows.lengths[:n]
    runs = QueryBlocks(each, each, lengths - 1, (each < rows.num_decode).astype(jnp.int32))
    longest = rows.tables.shape[1] * options.page_size
    return triton_runs.attend(
        q, latents, rows.tables, runs, 1, longest=longest, value_size=value_size,
        options=options, sizes=sizes, over=over,
    )  # fmt: skip


def extend(q, latents, rows, *, value_size, options: tb.Options, sizes: Sizes):
    """The tokens of the rows after the first num_decode; all others are zero."""
    T, N, _ = q.shape
    size = sizes.num_tokens(N)
    longest = rows.tables.shape[1] * options.page_size
    zeros = jnp.zeros((T, N, value_size), q.dtype)
    return triton_runs.attend(
        q, latents, rows.tables, query_blocks(rows, T, size), size, longest=longest,
        value_size=value_size, options=options, sizes=sizes, over=zeros,
    )  # fmt: skip

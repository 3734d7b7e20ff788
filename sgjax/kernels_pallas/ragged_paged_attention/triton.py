"""Ragged paged attention on NVIDIA GPUs: Pallas kernels that lower to Triton.

A step's decode rows and its longer rows are different work: one is a kernel that streams the cache,
the other one that fills the tensor cores. A mixed step launches both, into one result. What decode
rows share is the work of a third, and the first goes on from its results.
"""

from sgjax.kernels_pallas.block_sizes import device_kind
from sgjax.kernels_pallas.ragged_paged_attention import triton_block as tb
from sgjax.kernels_pallas.ragged_paged_attention import (
    triton_decode,
    triton_extend,
    triton_shared,
)
from sgjax.kernels_pallas.ragged_paged_attention.view import View
from sgjax.kernels_pallas.tiles import next_power_of_two


def ragged_paged_attention(
    q,
    k,
    v,
    rows,
    *,
    page_size,
    scale,
    only_decode,
    window=None,
    chunk=None,
    soft_cap=None,
    is_causal=True,
    sinks=None,
    kind=None,
    interpret=False,
):
    """The contract. q, k and v have one dtype: bfloat16, float16 or float32.

    `kind` is the device's whose block sizes are taken; None: the one that JAX computes on.
    `interpret` runs the kernels in Pallas's interpreter, on any platform.
    """
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(
            f"q is {q.dtype}, the cache {k.dtype} and {v.dtype}: the Triton kernels want one dtype "
            "for all three. Cast q, or keep the cache in the dtype of the activations."
        )
    kind = kind or device_kind()
    view = View(window, chunk, is_causal)
    options = tb.Options(page_size, scale, soft_cap, view, interpret=interpret)
    row_bytes = next_power_of_two(q.shape[-1]) * q.dtype.itemsize
    result = None
    if not only_decode:
        sizes = triton_extend.sizes(row_bytes, q.dtype, kind)
        result = triton_extend.extend(q, k, v, rows, sinks=sinks, options=options, sizes=sizes)
    prefixes = None
    if rows.shared is not None and not view.leaves_out:
        sizes = triton_shared.sizes(row_bytes, q.dtype, kind)
        prefixes = triton_shared.attend(q, k, v, rows, options=options, sizes=sizes)
    sizes = triton_decode.sizes(row_bytes, q.dtype, kind)
    return triton_decode.decode(
        q, k, v, rows, sinks=sinks, options=options, sizes=sizes, prefixes=prefixes, over=result
    )

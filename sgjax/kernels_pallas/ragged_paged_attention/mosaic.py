"""Ragged paged attention on Hopper GPUs: rows of many new tokens in a kernel that lowers to Mosaic
GPU, everything else in the Triton kernels."""

from sgjax.kernels_pallas.ragged_paged_attention import mosaic_extend, triton, triton_extend


def ragged_paged_attention(
    q, k, v, rows, *, page_size, scale, window, soft_cap, only_decode, kind=None, interpret=False
):
    """The contract, as `triton` keeps it. What the kernel does not take is computed by Triton's."""
    takes = mosaic_extend.fits(q, page_size, soft_cap)
    return triton.ragged_paged_attention(
        q,
        k,
        v,
        rows,
        page_size=page_size,
        scale=scale,
        window=window,
        soft_cap=soft_cap,
        only_decode=only_decode,
        kind=kind,
        interpret=interpret,
        extend=mosaic_extend if takes else triton_extend,
    )

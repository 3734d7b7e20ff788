"""Latent attention in plain JAX: that of one kv head, whose values are its keys cut short."""

from sgjax.kernels_pallas.ragged_paged_attention import reference


def latent_attention(q, latents, rows, *, value_size, page_size, scale, only_decode):
    """The contract. Accumulates in float32 whatever the inputs are."""
    out = reference.ragged_paged_attention(
        q[:, None],
        latents,
        None,
        rows,
        page_size=page_size,
        scale=scale,
        only_decode=only_decode,
    )
    return out[:, 0, :, :value_size]

"""Attention of ragged rows of new tokens to a paged cache of latents: the contract, and its
dispatch. https://arxiv.org/abs/2405.04434"""

from jaxtyping import Array, Float

from sgjax.kernels_pallas.dispatch import implementation_of
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows


def latent_attention(
    q: Float[Array, "T N M"],
    latents: Float[Array, "slots M"],
    rows: RaggedRows,
    *,
    value_size: int,
    page_size: int,
    scale: float,
    only_decode: bool = False,
    implementation: str | None = None,
) -> Float[Array, "T N A"]:
    """Causal attention of every new token to its row's cache, up to and including itself.

    All heads have the same keys, the latents, and the same values: their first `value_size` (A)
    numbers. Else it is as `ragged_paged_attention`: of float32 softmax and sums, rounded to the
    dtype of q; zero for tokens of no row; on the heads of one device. `only_decode` promises
    statically that every row has at most one token (T == S) and all rows that have one are decode
    rows. What rows share is of no use here: every head of a row reads the same already.
    """
    module = implementation_of(__name__, implementation)
    if only_decode and q.shape[0] != rows.lengths.shape[0]:
        raise ValueError(
            f"A step of decode rows only has one token a row, but {q.shape[0]} tokens and "
            f"{rows.lengths.shape[0]} rows were given: pad both alike, or pass only_decode=False."
        )
    if not 0 < value_size < q.shape[2]:
        raise ValueError(
            f"Of a latent's {q.shape[2]} numbers the first {value_size} cannot be its values: "
            "some are, and some are of keys alone."
        )
    return module.latent_attention(
        q,
        latents,
        rows,
        value_size=value_size,
        page_size=page_size,
        scale=scale,
        only_decode=only_decode,
    )

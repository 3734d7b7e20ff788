"""From a projection to attention's inputs: heads are normed and rotated, the cache is written."""

from jaxtyping import Array, Float, Int32

from sgjax.kernels_pallas.dispatch import implementation_of


def rotate_and_write(
    qkv: Float[Array, "T K G2 H"],
    cos: Float[Array, "T half"],
    sin: Float[Array, "T half"],
    k: Float[Array, "slots K H"],
    v: Float[Array, "slots K H"],
    slots: Int32[Array, "T"],
    *,
    norms: tuple[Float[Array, "H"], Float[Array, "H"]] | None = None,
    eps: float = 0.0,
    implementation: str | None = None,
) -> tuple[Float[Array, "T K G H"], Float[Array, "slots K H"], Float[Array, "slots K H"]]:
    """The queries, and the caches k and v with the new keys and values in them.

    `qkv` holds for each kv head its G = G2 - 2 query heads, its key and its value. Queries and keys
    are RMS-normed by the scales `norms` (of queries, of keys), where given; then feature i of the
    first 2 * half turns with feature i + half, in float32. A slot past the end (padding) is
    dropped; no slot is named twice. The caches should be donated: they are written in place.
    https://arxiv.org/abs/2104.09864
    """
    module = implementation_of(__name__, implementation)
    return module.rotate_and_write(qkv, cos, sin, k, v, slots, norms=norms, eps=eps)

"""Which experts a token has, and how much each of them counts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from sgjax.kernels_pallas.block_sizes import device_kind
from sgjax.models.family import MoEConfig

_SCORES = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid}
_NUM_COUNTED = {"max": 1, "top2": 2}
"""Of a group's experts, in its score."""
_LITTLE = 1e-20
"""So that scores that are all zero can be divided by their sum."""


def route(
    logits: Float32[Array, "T E"], moe: MoEConfig, bias: Float32[Array, "E"] | None = None
) -> tuple[Int32[Array, "T k"], Float32[Array, "T k"]]:
    """The experts of each token, the highest score first, and their weights; `moe` says how.

    `bias` is added to scores for the choice, and does not count in the weights (DeepSeek V3).
    https://arxiv.org/abs/2401.06066, https://arxiv.org/abs/2412.19437
    """
    if moe.logit_soft_cap is not None:
        logits = moe.logit_soft_cap * jnp.tanh(logits / moe.logit_soft_cap)
    scores = _SCORES[moe.scoring](logits)
    chosen_by = scores if bias is None else scores + bias[None]
    if moe.num_groups > 1:
        chosen_by = _within_groups(chosen_by, moe)
    weights, ids = _largest(chosen_by, moe.top_k)
    if bias is not None:
        weights = jnp.take_along_axis(scores, ids, axis=-1)
    if moe.renormalise:
        weights = weights / (weights.sum(-1, keepdims=True) + _LITTLE)
    return ids, weights * moe.scale


def _within_groups(scores: Float32[Array, "T E"], moe: MoEConfig) -> Float32[Array, "T E"]:
    """The scores of experts of a token's best groups; the others' are out of the question."""
    T, groups = scores.shape[0], moe.num_groups
    grouped = scores.reshape(T, groups, -1)
    of_group = _largest(grouped, _NUM_COUNTED[moe.group_score])[0].sum(-1)
    _, best = _largest(of_group, moe.top_groups)
    is_best = (best[:, :, None] == jnp.arange(groups)[None, None]).any(1)
    return jnp.where(is_best[:, :, None], grouped, -jnp.inf).reshape(scores.shape)


def _largest(
    x: Float32[Array, "*batch n"], k: int
) -> tuple[Float32[Array, "*batch k"], Int32[Array, "*batch k"]]:
    """The k largest, and where they are; of equal ones the first."""
    if device_kind() is None:
        values, ids = jax.lax.top_k(x, k)
        return values, ids.astype(jnp.int32)
    return largest_by_rank(x, k)


def largest_by_rank(
    x: Float32[Array, "*batch n"], k: int
) -> tuple[Float32[Array, "*batch k"], Int32[Array, "*batch k"]]:
    """What `jax.lax.top_k` gives, of few: by how many are larger than each. For a GPU XLA would
    compile a sort for each layer anew, which takes half of the time."""
    x = jax.lax.optimization_barrier(x)  # computed twice, a number might not equal itself
    n, batch = x.shape[-1], x.ndim - 1
    this, other = x[..., :, None], x[..., None, :]
    at, of_other = (jax.lax.broadcasted_iota(jnp.int32, (*x.shape, n), batch + i) for i in (0, 1))
    is_before = (other > this) | ((other == this) & (of_other < at))
    rank = is_before.sum(-1, dtype=jnp.int32)[..., None, :]
    place, at = (
        jax.lax.broadcasted_iota(jnp.int32, (*x.shape[:-1], k, n), batch + i) for i in (0, 1)
    )
    values = jnp.where(rank == place, other, 0).sum(-1)
    ids = jnp.where(rank == place, at, 0).sum(-1, dtype=jnp.int32)
    return values, jnp.minimum(ids, n - 1)  # what is no number has no rank of its own

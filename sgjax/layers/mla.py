"""Multi-head latent attention: keys and values of all heads are made of one latent a token, which
is all that the cache holds. https://arxiv.org/abs/2405.04434"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int32

from sgjax.cache.kv_cache import LatentKV
from sgjax.kernels_pallas.latent_attention import latent_attention
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.kernels_pallas.rotate_and_write.reference import rotate
from sgjax.layers import rope
from sgjax.layers.einsum import Einsum
from sgjax.layers.inputs import StepInputs
from sgjax.layers.norm import Norm, RMSNorm
from sgjax.layers.weight import Weight
from sgjax.models.family import ModelConfig
from sgjax.sharding.rules import spec

_EPS = 1e-6
"""Of the norms of latents, whatever the model's other norms have."""


class LatentAttention(nnx.Module):
    """Projects to latents and queries, attends to latents, and projects back.

    What a head would make of a latent, its keys and its values, is never made: instead a query is
    multiplied with what makes keys (`key_up`), so that it can be compared with latents, and what
    attention gives, a mean of latents, with what makes values (`value_up`). Queries come from a
    latent of their own, or from the stream. Devices share the heads; each has all of the cache.
    """

    def __init__(self, cfg: ModelConfig, layer: int):
        sizes = cfg.mla
        assert sizes is not None, "the family's config says how large latents are"
        D, K, H = cfg.d_model, cfg.num_kv_heads, cfg.head_size
        A, U, J, Q = sizes.kv_latent, sizes.num_unturned, sizes.value_size, sizes.q_latent
        entry = {"latent": A, "turned": H}
        of_heads = {"D": D, "Q": Q or 0, "K": K, "H": U + H}
        parts = {"unturned": U, "turned": H}
        if Q is None:
            self.kv_down = _down(D, entry, bias=cfg.qkv_bias)
            self.q = Einsum("D -> K H", of_heads, part_axis="H", parts=parts)
        else:
            self.down = _down(D, {"q": Q} | entry, bias=cfg.qkv_bias)
            self.q_norm = RMSNorm(Q, _EPS, axis="Q")
            self.q_up = Einsum("Q -> K H", of_heads, part_axis="H", parts=parts)
        self.latent_norm = RMSNorm(A, _EPS, axis="A")
        self.key_up = Weight((K, U, A), "K U A")
        self.value_up = Weight((K, J, A), "K J A")
        self.out = Einsum("K J -> D", {"K": K, "J": J, "D": D}, bias=cfg.out_bias)
        self.sizes, self.head_size = sizes, H
        self.rope = cfg.layer_rope(layer)
        self.scale = (U + H) ** -0.5 if cfg.attn_scale is None else cfg.attn_scale

    def __call__(
        self,
        norm: Norm,
        x: Float[Array, "T D"],
        delta: Float[Array, "T D"],
        kv: LatentKV,
        step: StepInputs,
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LatentKV]:
        """x + delta, what the layer makes of its norm, and the cache with the tokens in it. Of the
        tokens those that are wanted, if the step says which."""
        at = self.sizes.q_latent
        if at is None:
            x, normed = norm.after_add(x, delta, step.placement)
            low, q = self.kv_down(normed, step.placement), self.q(normed, step.placement)
        else:
            x, low = self.down.after(norm, x, delta, step.placement)
            q, low = self.q_up(self.q_norm(low[:, :at]), step.placement), low[:, at:]
        attended, latents = self._shared_attend(q, low, kv.latents, step)
        h = self.out(step.of_wanted(attended), step.placement)
        return step.of_wanted(x), h, LatentKV(latents)

    def _shared_attend(
        self,
        q: Float[Array, "T K UH"],
        low: Float[Array, "T M"],
        latents: Float[Array, "slots M"],
        step: StepInputs,
    ) -> tuple[Float[Array, "T K J"], Float[Array, "slots M"]]:
        cos, sin = rope.angles(self.rope, self.head_size, step.positions)
        size = self.sizes.kv_latent
        turned = rotate(low[:, size:], cos, sin)
        entries = jnp.concatenate([self.latent_norm(low[:, :size]), turned], axis=1)
        whole = PartitionSpec()
        return jax.shard_map(
            functools.partial(self._attend, step=step),
            mesh=step.placement.mesh,
            in_specs=(
                *(spec("T K H"), whole, whole, whole, whole, whole, whole),
                *(spec("K U A"), spec("K J A")),
            ),
            out_specs=(spec("T K J"), whole),
            check_vma=False,
        )(
            *(q, entries, cos, sin, latents, step.slots, step.rows),
            *(self.key_up[...], self.value_up[...]),
        )

    def _attend(
        self,
        q: Float[Array, "T K UH"],
        entries: Float[Array, "T M"],
        cos: Float[Array, "T half"],
        sin: Float[Array, "T half"],
        latents: Float[Array, "slots M"],
        slots: Int32[Array, "T"],
        rows: RaggedRows,
        key_up: Float[Array, "K U A"],
        value_up: Float[Array, "K J A"],
        *,
        step: StepInputs,
    ) -> tuple[Float[Array, "T K J"], Float[Array, "slots M"]]:
        """What one device does, with its own heads."""
        latents = latents.at[slots].set(entries.astype(latents.dtype), mode="drop")
        at = self.sizes.num_unturned
        compared = _of_each_head("TKU,KUA->TKA", q[..., :at], key_up)
        mean = latent_attention(
            jnp.concatenate([compared, rotate(q[..., at:], cos, sin)], axis=-1),
            latents,
            rows,
            value_size=self.sizes.kv_latent,
            page_size=step.page_size,
            scale=self.scale,
            only_decode=step.only_decode,
            implementation=step.placement.kernels,
        )
        return _of_each_head("TKA,KJA->TKJ", mean, value_up), latents


def _down(d_model: int, parts: dict[str, int], *, bias: bool) -> Einsum:
    sizes = {"D": d_model, "A": sum(parts.values())}
    return Einsum("D -> A", sizes, bias=bias, part_axis="A", parts=parts)


def _of_each_head(axes: str, x: Array, weight: Array) -> Array:
    """A product for each head, summed up in float32 and rounded to the dtype of x."""
    exact = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    return jnp.einsum(axes, x, weight, precision=exact, preferred_element_type=x.dtype)

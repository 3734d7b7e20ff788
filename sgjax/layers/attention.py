"""Self-attention with grouped queries over the paged cache. https://arxiv.org/abs/2305.13245"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int32

from sgjax.cache.kv_cache import LayerKV
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, ragged_paged_attention
from sgjax.kernels_pallas.rotate_and_write import rotate_and_write
from sgjax.layers import rope
from sgjax.layers.einsum import Einsum
from sgjax.layers.head_norms import AllHeadsRMSNorm, HeadLayerNorm, PlainHeadNorm
from sgjax.layers.inputs import StepInputs
from sgjax.layers.norm import Norm, RMSNorm
from sgjax.layers.weight import Weight
from sgjax.models.family import ModelConfig
from sgjax.sharding.rules import spec

HeadNorm = RMSNorm | AllHeadsRMSNorm | HeadLayerNorm | PlainHeadNorm


class Attention(nnx.Module):
    """Projects to queries, keys and values, rotates them, attends, and projects back.

    Queries, keys and values come from one product, a group at a time: the G queries of a kv head,
    its key, its value. `qk_norms` are applied to the query heads and the key heads before the
    rotation, and before queries, keys and values are clipped. What the layer's window or chunk, its
    RoPE, the factors of its queries and of its scores and their cap are, and whether it has biases,
    `cfg` says. `sinks` gives each query head a learnt score in softmax's denominator.
    """

    def __init__(
        self,
        cfg: ModelConfig,
        layer: int,
        *,
        qk_norms: tuple[HeadNorm, HeadNorm] | None = None,
        sinks: bool = False,
    ):
        groups, size = cfg.group_size, cfg.head_size
        sizes = {"D": cfg.d_model, "K": cfg.num_kv_heads, "G": groups, "H": size}
        self.qkv = Einsum(
            "D -> K G H",
            sizes | {"G": groups + 2},
            bias=cfg.qkv_bias,
            part_axis="G",
            parts={"q": groups, "k": 1, "v": 1},
        )
        self.out = Einsum("K G H -> D", sizes, bias=cfg.out_bias)
        self.q_norm, self.k_norm = qk_norms or (None, None)
        self.sinks = Weight((cfg.num_kv_heads, groups), "K G") if sinks else None
        self.head_size = size
        self.rope = cfg.layer_rope(layer)
        self.window, self.chunk = cfg.window(layer), cfg.chunk(layer)
        self.query_scale = cfg.query_scale(layer)
        self.scale = size**-0.5 if cfg.attn_scale is None else cfg.attn_scale
        self.soft_cap = cfg.attn_soft_cap
        self.clip = cfg.qkv_clip
        self.is_causal = cfg.is_causal

    def __call__(
        self,
        norm: Norm,
        x: Float[Array, "T D"],
        delta: Float[Array, "T D"],
        kv: LayerKV,
        step: StepInputs,
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        """x + delta, what the layer makes of its norm, and the cache with the tokens in it. Of the
        tokens those that are wanted, if the step says which."""
        x, qkv = self.qkv.after(norm, x, delta, step.placement)
        attended, kv = self._attended(qkv, kv, step)
        return step.of_wanted(x), self.out(step.of_wanted(attended), step.placement), kv

    def of(
        self, x: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "T D"], LayerKV]:
        """What the layer makes of x as it is, of all tokens, and the cache with these in it."""
        attended, kv = self._attended(self.qkv(x, step.placement), kv, step)
        return self.out(attended, step.placement), kv

    def _attended(
        self, qkv: Float[Array, "T K G2 H"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "T K G H"], LayerKV]:
        scales = None
        if isinstance(self.q_norm, RMSNorm) and isinstance(self.k_norm, RMSNorm):
            scales = self.q_norm.scale[...], self.k_norm.scale[...]
        elif self.q_norm is not None and self.k_norm is not None:
            q, k, v = qkv[:, :, :-2], qkv[:, :, -2:-1], qkv[:, :, -1:]
            qkv = jnp.concatenate([self.q_norm(q), self.k_norm(k), v], axis=2)
        if self.clip is not None:
            qkv = jnp.clip(qkv, -self.clip, self.clip)
        cos, sin = rope.angles(self.rope, self.head_size, step.positions)
        factors = self.query_scale and self.query_scale.factors(step.positions)
        heads, cache, whole = spec("T K G H"), spec("PB K H"), PartitionSpec()
        attended, k, v = jax.shard_map(
            functools.partial(self._attend, step=step),
            mesh=step.placement.mesh,
            in_specs=(heads, whole, whole, cache, cache, whole, whole, whole, whole, spec("K G")),
            out_specs=(heads, cache, cache),
            check_vma=False,
        )(qkv, cos, sin, kv.k, kv.v, step.slots, step.rows, scales, factors, self._sinks)
        return attended, LayerKV(k, v)

    @property
    def _sinks(self) -> Array | None:
        return None if self.sinks is None else self.sinks[...]

    def _attend(
        self,
        qkv: Float[Array, "T K G2 H"],
        cos: Float[Array, "T half"],
        sin: Float[Array, "T half"],
        k: Float[Array, "slots K H"],
        v: Float[Array, "slots K H"],
        slots: Int32[Array, "T"],
        rows: RaggedRows,
        norms: tuple[Array, Array] | None,
        factors: Float[Array, "T"] | None,
        sinks: Float[Array, "K G"] | None,
        *,
        step: StepInputs,
    ) -> tuple[Float[Array, "T K G H"], Float[Array, "slots K H"], Float[Array, "slots K H"]]:
        """What one device does, with its own kv heads."""
        kernels = step.placement.kernels
        eps = self.q_norm.eps if self.q_norm is not None else 0.0
        q, k, v = rotate_and_write(
            qkv, cos, sin, k, v, slots, norms=norms, eps=eps, implementation=kernels
        )
        if factors is not None:
            q = (q.astype(jnp.float32) * factors[:, None, None, None]).astype(q.dtype)
        attended = ragged_paged_attention(
            q,
            k,
            v,
            rows,
            page_size=step.page_size,
            scale=self.scale,
            window=self.window,
            chunk=self.chunk,
            soft_cap=self.soft_cap,
            is_causal=self.is_causal,
            sinks=sinks,
            only_decode=step.only_decode,
            implementation=kernels,
        )
        return attended, k, v

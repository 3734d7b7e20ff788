"""Causal self-attention with grouped queries over the paged cache. https://arxiv.org/abs/2305.13245"""

import functools

import jax
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int32

from sgjax.cache.kv_cache import LayerKV
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, ragged_paged_attention
from sgjax.kernels_pallas.rotate_and_write import rotate_and_write
from sgjax.layers import rope
from sgjax.layers.einsum import Einsum
from sgjax.layers.inputs import StepInputs
from sgjax.layers.norm import RMSNorm
from sgjax.models.family import ModelConfig
from sgjax.sharding.rules import spec


class Attention(nnx.Module):
    """Projects to queries, keys and values, rotates them, attends, and projects back.

    Queries, keys and values come from one product, a group at a time: the G queries of a kv head,
    its key, its value. `qk_norm` puts an RMSNorm on each query and key head before the rotation.
    `window` lets a token see itself and the window - 1 tokens before it.
    """

    def __init__(self, cfg: ModelConfig, *, window: int | None = None, qk_norm: bool = False):
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
        self.q_norm = RMSNorm(size, cfg.norm_eps, axis="H") if qk_norm else None
        self.k_norm = RMSNorm(size, cfg.norm_eps, axis="H") if qk_norm else None
        self.head_size = size
        self.eps = cfg.norm_eps
        self.rope = cfg.rope
        self.window = window

    def __call__(
        self,
        norm: RMSNorm,
        x: Float[Array, "T D"],
        delta: Float[Array, "T D"],
        kv: LayerKV,
        step: StepInputs,
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"], LayerKV]:
        """x + delta, what the layer makes of its norm, and the cache with the tokens in it."""
        x, qkv = self.qkv.after(norm, x, delta, step.placement)
        cos, sin = rope.angles(self.rope, self.head_size, step.positions)
        heads, cache, whole = spec("T K G H"), spec("PB K H"), PartitionSpec()
        attended, k, v = jax.shard_map(
            functools.partial(self._attend, step=step),
            mesh=step.placement.mesh,
            in_specs=(heads, whole, whole, cache, cache, whole, whole, whole),
            out_specs=(heads, cache, cache),
            check_vma=False,
        )(qkv, cos, sin, kv.k, kv.v, step.slots, step.rows, self._norms())
        return x, self.out(attended, step.placement), LayerKV(k, v)

    def _norms(self) -> tuple[Array, Array] | None:
        if self.q_norm is None or self.k_norm is None:
            return None
        return self.q_norm.scale[...], self.k_norm.scale[...]

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
        *,
        step: StepInputs,
    ) -> tuple[Float[Array, "T K G H"], Float[Array, "slots K H"], Float[Array, "slots K H"]]:
        """What one device does, with its own kv heads."""
        kernels = step.placement.kernels
        q, k, v = rotate_and_write(
            qkv, cos, sin, k, v, slots, norms=norms, eps=self.eps, implementation=kernels
        )
        attended = ragged_paged_attention(
            q,
            k,
            v,
            rows,
            page_size=step.page_size,
            scale=self.head_size**-0.5,
            window=self.window,
            only_decode=step.only_decode,
            implementation=kernels,
        )
        return attended, k, v

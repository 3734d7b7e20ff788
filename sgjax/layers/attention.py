"""Causal self-attention with grouped queries over the paged cache. https://arxiv.org/abs/2305.13245"""

import functools

import jax
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.kernels_pallas.ragged_paged_attention import ragged_paged_attention
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
        self.rope = cfg.rope
        self.window = window

    def __call__(
        self, x: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "T D"], LayerKV]:
        q, k, v = self._heads(x)
        cos, sin = rope.angles(self.rope, self.head_size, step.positions)
        q, k = rope.rotate(q, cos, sin), rope.rotate(k, cos, sin)
        kv = kv.write(k, v, step.slots)
        return self.out(self._attend(q, kv, step)), kv

    def _heads(
        self, x: Float[Array, "T D"]
    ) -> tuple[Float[Array, "T K G H"], Float[Array, "T K H"], Float[Array, "T K H"]]:
        qkv = self.qkv(x)
        q, k, v = qkv[:, :, :-2], qkv[:, :, -2], qkv[:, :, -1]
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return q, k, v

    def _attend(
        self, q: Float[Array, "T K G H"], kv: LayerKV, step: StepInputs
    ) -> Float[Array, "T K G H"]:
        """Every device attends with its own kv heads."""
        attend = functools.partial(
            ragged_paged_attention,
            page_size=step.page_size,
            scale=self.head_size**-0.5,
            window=self.window,
            only_decode=step.only_decode,
            implementation=step.placement.attention,
        )
        cache = spec("PB K H")
        return jax.shard_map(
            attend,
            mesh=step.placement.mesh,
            in_specs=(spec("T K G H"), cache, cache, PartitionSpec()),
            out_specs=spec("T K G H"),
            check_vma=False,
        )(q, kv.k, kv.v, step.rows)

"""Qwen3 with many small experts: its attention, and Qwen2-MoE's layers without a shared expert.

https://arxiv.org/abs/2505.09388
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.models import llama, qwen2_moe, qwen3
from sgjax.models.family import Family, ModelConfig
from sgjax.models.feed_forward import feed_forward_of
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import head_norm_of, norm_of


def config(hf: HFConfig) -> ModelConfig:
    for key in ("num_key_value_heads", "head_dim"):
        hf(key)  # no default: transformers would take 4, and another size of heads
    hf.expect("use_sliding_window", False)
    bias = hf.flag("attention_bias", False)
    moe = qwen2_moe.read_experts(hf)
    cfg = llama.read_sizes(hf, qkv_bias=bias, out_bias=bias, windows=hf.windows(), moe=moe)
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer, qk_norms=(head_norm_of(cfg), head_norm_of(cfg)))
        self.mlp = feed_forward_of(cfg, layer)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


WEIGHTS = qwen3.WEIGHTS | qwen2_moe.experts_table("model.layers.{}.mlp")
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

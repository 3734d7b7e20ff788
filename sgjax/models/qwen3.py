"""Qwen3 (dense): a Llama whose q and k heads are RMS-normed before RoPE.

https://arxiv.org/abs/2505.09388
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Target
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import head_norm_of, norm_of


def config(hf: HFConfig) -> ModelConfig:
    for key in ("num_key_value_heads", "head_dim"):
        hf(key)  # no default: transformers would take 32 and 128
    bias = hf.flag("attention_bias", False)
    cfg = llama.read_sizes(hf, qkv_bias=bias, out_bias=bias, windows=hf.windows())
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer, qk_norms=(head_norm_of(cfg), head_norm_of(cfg)))
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


HEAD_NORMS: dict[str, Target] = {
    "model.layers.{}.self_attn.q_norm.weight": ("blocks.{}.attn.q_norm.scale", "h -> h"),
    "model.layers.{}.self_attn.k_norm.weight": ("blocks.{}.attn.k_norm.scale", "h -> h"),
}
WEIGHTS = llama.WEIGHTS | HEAD_NORMS
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

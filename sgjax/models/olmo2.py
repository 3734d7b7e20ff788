"""OLMo 2: a Llama that norms what layers give, not what they take; queries and keys are normed over
all heads together. https://arxiv.org/abs/2501.00656
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.head_norms import AllHeadsRMSNorm
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.layers.norm import NoNorm
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    hf("rms_norm_eps")  # no default: transformers would take 1e-5
    bias = hf.flag("attention_bias", False)
    # Scales are multiplied in before the result is rounded.
    cfg = llama.read_sizes(hf, norm="wide_rms", qkv_bias=bias, out_bias=bias)
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = NoNorm(), NoNorm()
        self.attn_post_norm, self.mlp_post_norm = norm_of(cfg), norm_of(cfg)
        heads, size, eps = cfg.num_kv_heads, cfg.head_size, cfg.norm_eps
        queries = AllHeadsRMSNorm(heads, cfg.group_size, size, eps)
        self.attn = Attention(cfg, layer, qk_norms=(queries, AllHeadsRMSNorm(heads, 1, size, eps)))
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, self.attn_post_norm(h), step)
        return x, self.mlp_post_norm(h), kv


NORMED_AFTER = {
    "model.layers.{}.post_attention_layernorm.weight": ("blocks.{}.attn_post_norm.scale", "d -> d"),
    "model.layers.{}.post_feedforward_layernorm.weight": (
        "blocks.{}.mlp_post_norm.scale",
        "d -> d",
    ),
}
"""The norms of layers that norm what they give."""

WEIGHTS = (
    llama.WEIGHTS
    | NORMED_AFTER
    | {
        "model.layers.{}.self_attn.q_norm.weight": (
            "blocks.{}.attn.q_norm.scale",
            "(k g h) -> k g h",
        ),
        "model.layers.{}.self_attn.k_norm.weight": (
            "blocks.{}.attn.k_norm.scale",
            "(kv h) -> k 1 h",
        ),
    }
)
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

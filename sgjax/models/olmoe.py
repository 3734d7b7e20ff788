"""OLMoE: a Llama of 64 small experts, whose queries and keys are normed over all heads together.

https://arxiv.org/abs/2409.02060
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.head_norms import AllHeadsRMSNorm
from sgjax.layers.inputs import StepInputs
from sgjax.models import llama, qwen2_moe
from sgjax.models.family import Family, ModelConfig, MoEConfig
from sgjax.models.feed_forward import feed_forward_of
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    bias = hf.flag("attention_bias", False)
    num_experts = hf.size("num_experts")
    moe = MoEConfig(
        num_experts=num_experts,
        top_k=hf.at_most("num_experts_per_tok", num_experts, of="num_experts"),
        d_expert=hf.size("intermediate_size"),
        renormalise=hf.flag("norm_topk_prob", False),
    )
    cfg = llama.read_sizes(
        hf,
        qkv_bias=bias,
        out_bias=bias,
        qkv_clip=hf.optional_number("clip_qkv"),
        norm_eps=hf.number("rms_norm_eps", 1e-5),
        moe=moe,
    )
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        heads = cfg.num_kv_heads, cfg.group_size, cfg.head_size
        of_queries = AllHeadsRMSNorm(*heads, cfg.norm_eps)
        of_keys = AllHeadsRMSNorm(cfg.num_kv_heads, 1, cfg.head_size, cfg.norm_eps)
        self.attn = Attention(cfg, layer, qk_norms=(of_queries, of_keys))
        self.mlp = feed_forward_of(cfg, layer)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


WEIGHTS = (
    llama.WEIGHTS
    | qwen2_moe.experts_table("model.layers.{}.mlp")
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

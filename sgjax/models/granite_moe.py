"""Granite 3 with experts: Mixtral's layers, with multipliers of embeddings, scores, what layers
give, and logits. https://github.com/ibm-granite/granite-3.0-language-models
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.models import llama, mixtral
from sgjax.models.family import Family, ModelConfig, MoEConfig, Target
from sgjax.models.feed_forward import feed_forward_of
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    bias = hf.flag("attention_bias", False)
    num_experts = hf.size("num_local_experts")
    moe = MoEConfig(
        num_experts=num_experts,
        top_k=hf.at_most("num_experts_per_tok", num_experts, of="num_local_experts"),
        d_expert=hf.size("intermediate_size"),
        renormalise=True,
    )
    cfg = llama.read_sizes(
        hf,
        qkv_bias=bias,
        out_bias=bias,
        embed_scale=hf.number("embedding_multiplier", 1.0),
        attn_scale=hf.number("attention_multiplier", 1.0),
        residual_scale=hf.number("residual_multiplier", 1.0),
        logit_scale=1 / hf.number("logits_scaling", 1.0),
        moe=moe,
    )
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn, self.mlp = Attention(cfg, layer), feed_forward_of(cfg, layer)
        self.residual_scale = cfg.residual_scale

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h * self.residual_scale, step)
        return x, h * self.residual_scale, kv


_EXPERTS: dict[str, Target | list[Target]] = {
    "model.layers.{}.block_sparse_moe.router.layer.weight": ("blocks.{}.mlp.router", "e d -> d e"),
    "model.layers.{}.block_sparse_moe.input_linear.weight": [
        ("blocks.{}.mlp.gate_up:gate", "e [x*|x] d -> e d 1 x"),
        ("blocks.{}.mlp.gate_up:up", "e [x|x*] d -> e d 1 x"),
    ],
    "model.layers.{}.block_sparse_moe.output_linear.weight": (
        "blocks.{}.mlp.down",
        "e d x -> e x d",
    ),
}
WEIGHTS = {
    name: rule for name, rule in mixtral.WEIGHTS.items() if ".block_sparse_moe." not in name
} | _EXPERTS
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

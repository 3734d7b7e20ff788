"""Grok-1: norms around each layer, capped scores and router logits, eight experts with a GELU gate.

https://github.com/xai-org/grok-1
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.models import llama, mixtral
from sgjax.models.family import Family, ModelConfig, MoEConfig
from sgjax.models.feed_forward import feed_forward_of
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of

_CAP = 30.0


def config(hf: HFConfig) -> ModelConfig:
    other_name = hf.size("num_experts", None)
    num_experts = hf.size("num_local_experts", other_name) or hf.size("num_local_experts")
    hf.expect("router_logit_softcapping", _CAP)
    moe = MoEConfig(
        num_experts=num_experts,
        top_k=hf.at_most("num_experts_per_tok", num_experts, of="num_local_experts"),
        d_expert=hf.size("intermediate_size"),
        logit_soft_cap=_CAP,
    )
    cap = hf.number("attn_logit_softcapping", hf.number("max_attn_value", _CAP))
    cfg = llama.read_sizes(
        hf,
        activation=hf.activation("hidden_act", "gelu_pytorch_tanh"),
        attn_scale=hf.optional_number("attn_output_multiplier"),
        attn_soft_cap=cap,
        embed_scale=hf.number("embedding_multiplier_scale", 1.0),
        logit_scale=hf.number("output_multiplier_scale", 1.0),
        norm_eps=hf.number("rms_norm_eps", 1e-5),
        moe=moe,
    )
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.attn_post_norm = norm_of(cfg), norm_of(cfg)
        self.mlp_norm, self.mlp_post_norm = norm_of(cfg), norm_of(cfg)
        self.attn, self.mlp = Attention(cfg, layer), feed_forward_of(cfg, layer)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, self.attn_post_norm(h), step)
        return x, self.mlp_post_norm(h), kv


_NORMS = {
    "pre_attn_norm": "attn_norm",
    "post_attn_norm": "attn_post_norm",
    "pre_moe_norm": "mlp_norm",
    "post_moe_norm": "mlp_post_norm",
}
WEIGHTS = {name: rule for name, rule in mixtral.WEIGHTS.items() if "layernorm" not in name} | {
    f"model.layers.{{}}.{theirs}.weight": (f"blocks.{{}}.{ours}.scale", "d -> d")
    for theirs, ours in _NORMS.items()
}
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

"""GPT-OSS: experts with biases and a clamped gate, and attention whose heads may look away: each
has a learnt score in softmax's denominator. Every other layer has a window.

Weights are read as 16 or 32 bits; checkpoints of four (MXFP4) are not read yet.
https://arxiv.org/abs/2508.10925
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.moe import MoE
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, MoEConfig, Table
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    for key in ("head_dim", "num_key_value_heads", "rms_norm_eps"):
        hf(key)  # no default: transformers would take 64, 8 and 1e-5
    hf.expect("hidden_act", "silu")
    hf.expect("swiglu_alpha", 1.702)
    hf.expect("swiglu_limit", 7.0)
    if hf("quantization_config", None) is not None:
        raise hf.error("quantization_config", "is not supported: weights must have 16 or 32 bits")
    bias = hf.flag("attention_bias", True)
    num_experts = hf.size("num_local_experts")
    top_k = hf.at_most("num_experts_per_tok", num_experts, of="num_local_experts")
    hf.expect("experts_per_token", top_k)
    hf.expect("num_experts", num_experts)
    moe = MoEConfig(
        num_experts=num_experts,
        top_k=top_k,
        d_expert=hf.size("intermediate_size"),
        renormalise=True,
        router_bias=True,
        expert_bias=True,
    )
    window = hf.size("sliding_window", 128)
    slides = hf.sliding_layers(lambda layer: layer % 2 == 0)
    hf("initial_context_length", None)  # rope_scaling says it, too
    cfg = llama.read_sizes(
        hf,
        qkv_bias=bias,
        out_bias=bias,
        windows=tuple(window if slide else None for slide in slides),
        moe=moe,
    )
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        assert cfg.moe is not None
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer, sinks=True)
        self.mlp = MoE(cfg.d_model, cfg.moe, activation="clamped_silu")

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


_EXPERTS: Table = {
    "model.layers.{}.self_attn.sinks": ("blocks.{}.attn.sinks", "(k g) -> k g"),
    "model.layers.{}.mlp.router.weight": ("blocks.{}.mlp.router", "e d -> d e"),
    "model.layers.{}.mlp.router.bias": ("blocks.{}.mlp.router_bias", "e -> e"),
    "model.layers.{}.mlp.experts.gate_up_proj": [
        ("blocks.{}.mlp.gate_up:gate", "e d (x [1*|1]) -> e d 1 x"),
        ("blocks.{}.mlp.gate_up:up", "e d (x [1|1*]) -> e d 1 x"),
    ],
    "model.layers.{}.mlp.experts.gate_up_proj_bias": [
        ("blocks.{}.mlp.gate_up_bias:gate", "e (x [1*|1]) -> e 1 x"),
        ("blocks.{}.mlp.gate_up_bias:up", "e (x [1|1*]) -> e 1 x"),
    ],
    "model.layers.{}.mlp.experts.down_proj": ("blocks.{}.mlp.down", "e x d -> e x d"),
    "model.layers.{}.mlp.experts.down_proj_bias": ("blocks.{}.mlp.down_bias", "e d -> e d"),
}
WEIGHTS: Table = {
    **{name: rule for name, rule in llama.WEIGHTS.items() if ".mlp." not in name},
    **_EXPERTS,
}
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

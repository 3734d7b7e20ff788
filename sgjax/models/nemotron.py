"""Nemotron-4 and Minitron: LayerNorms of (1 + w), squared ReLU without a gate, and heads of which a
part is rotated. https://arxiv.org/abs/2402.16819, https://arxiv.org/abs/2407.14679
"""

from sgjax.models import gemma, llama, starcoder2
from sgjax.models.family import Family, ModelConfig, Target
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope


def config(hf: HFConfig) -> ModelConfig:
    bias, part = hf.flag("attention_bias", False), hf.optional_number("rope_percent")
    rope = read_rope(hf, fraction=part or 0.5)
    if part not in (None, rope.fraction):
        raise hf.error("rope_percent", f"contradicts partial_rotary_factor = {rope.fraction}")
    cfg = llama.read_sizes(
        hf,
        rope=rope,
        norm="biased_layer",
        norm_eps=hf.number("norm_eps"),
        activation=hf.activation(),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=hf.flag("mlp_bias", False),
    )
    hf.expect("kv_channels", cfg.head_size)
    hf.finish()
    return cfg


WITHOUT_A_GATE: dict[str, Target] = {
    "model.layers.{}.mlp.up_proj.weight": ("blocks.{}.mlp.up.weight", "f d -> d f"),
    "model.layers.{}.mlp.up_proj.bias": ("blocks.{}.mlp.up.bias", "f -> f"),
}
WEIGHTS = gemma.with_offset_norms(llama.WEIGHTS | starcoder2.NORM_BIASES | WITHOUT_A_GATE)
FAMILY = Family(config=config, block=starcoder2.Block, weights=WEIGHTS)

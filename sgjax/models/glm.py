"""GLM-4 9B: a Llama that rotates one half of each head, in pairs of neighbours, and whose gate and
up projections are one. https://arxiv.org/abs/2406.12793
"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope


def config(hf: HFConfig) -> ModelConfig:
    for key in ("attention_bias", "num_key_value_heads", "head_dim", "rms_norm_eps"):
        hf(key)  # no default: transformers would take those of GLM-4 9B
    bias = hf.flag("attention_bias")
    cfg = llama.read_sizes(hf, rope=read_rope(hf, fraction=0.5), qkv_bias=bias)
    hf.finish()
    return cfg


WEIGHTS: Table = {name: target for name, target in llama.WEIGHTS.items() if ".mlp." not in name} | {
    "model.layers.{}.self_attn.q_proj.weight": (
        "blocks.{}.attn.qkv.weight:q",
        "(k g i) d -> d k g h",
    ),
    "model.layers.{}.self_attn.k_proj.weight": (
        "blocks.{}.attn.qkv.weight:k",
        "(kv i) d -> d k 1 h",
    ),
    "model.layers.{}.self_attn.q_proj.bias": ("blocks.{}.attn.qkv.bias:q", "(k g i) -> k g h"),
    "model.layers.{}.self_attn.k_proj.bias": ("blocks.{}.attn.qkv.bias:k", "(kv i) -> k 1 h"),
    "model.layers.{}.mlp.gate_up_proj.weight": [
        ("blocks.{}.mlp.gate_up.weight:gate", "[f*|f] d -> d 1 f"),
        ("blocks.{}.mlp.gate_up.weight:up", "[f|f*] d -> d 1 f"),
    ],
    "model.layers.{}.mlp.down_proj.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
}
FAMILY = Family(config=config, block=llama.Block, weights=WEIGHTS)

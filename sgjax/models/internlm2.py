"""InternLM2 and 2.5: a Llama whose projections of queries, keys and values are packed by kv head.

https://arxiv.org/abs/2403.17297
"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    bias = hf.flag("bias")
    cfg = llama.read_sizes(hf, qkv_bias=bias, out_bias=bias)
    hf.finish()
    return cfg


WEIGHTS: Table = {
    "model.tok_embeddings.weight": ("embed.table", "v d -> v d"),
    "model.norm.weight": ("norm.scale", "d -> d"),
    "output.weight": ("head.table", "v d -> v d"),
    "model.layers.{}.attention_norm.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    "model.layers.{}.ffn_norm.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    "model.layers.{}.attention.wqkv.weight": [
        ("blocks.{}.attn.qkv.weight:q", "(kv [(r g)*|1|1] h) d -> d (kv r) g h"),
        ("blocks.{}.attn.qkv.weight:k", "(kv [(r g)|1*|1] h) d -> d k 1 h"),
        ("blocks.{}.attn.qkv.weight:v", "(kv [(r g)|1|1*] h) d -> d k 1 h"),
    ],
    "model.layers.{}.attention.wqkv.bias": [
        ("blocks.{}.attn.qkv.bias:q", "(kv [(r g)*|1|1] h) -> (kv r) g h"),
        ("blocks.{}.attn.qkv.bias:k", "(kv [(r g)|1*|1] h) -> k 1 h"),
        ("blocks.{}.attn.qkv.bias:v", "(kv [(r g)|1|1*] h) -> k 1 h"),
    ],
    "model.layers.{}.attention.wo.weight": ("blocks.{}.attn.out.weight", "d (k g h) -> k g h d"),
    "model.layers.{}.attention.wo.bias": ("blocks.{}.attn.out.bias", "d -> d"),
    "model.layers.{}.feed_forward.w1.weight": ("blocks.{}.mlp.gate_up.weight:gate", "f d -> d 1 f"),
    "model.layers.{}.feed_forward.w3.weight": ("blocks.{}.mlp.gate_up.weight:up", "f d -> d 1 f"),
    "model.layers.{}.feed_forward.w2.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
}
FAMILY = Family(config=config, block=llama.Block, weights=WEIGHTS)

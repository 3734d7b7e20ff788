"""EXAONE 3.0 and 3.5: a Llama with other names. https://arxiv.org/abs/2408.03541"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_context_length, read_rope


def config(hf: HFConfig) -> ModelConfig:
    num_heads, d_model = hf.size("num_attention_heads"), hf.size("hidden_size")
    rope = read_rope(hf)
    cfg = ModelConfig(
        architecture=hf.architecture,
        vocab_size=hf.size("vocab_size"),
        num_layers=hf.size("num_layers"),
        d_model=d_model,
        d_ff=hf.size("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=hf.divisor("num_key_value_heads", num_heads, of="num_attention_heads"),
        head_size=hf.head_size(d_model, num_heads),
        context_length=read_context_length(hf, rope),
        norm_eps=hf.number("layer_norm_epsilon"),
        rope=rope,
        activation=hf.activation("activation_function"),
        tie_embeddings=hf.flag("tie_word_embeddings", False),
    )
    hf.finish()
    return cfg


WEIGHTS: Table = {
    "transformer.wte.weight": ("embed.table", "v d -> v d"),
    "transformer.ln_f.weight": ("norm.scale", "d -> d"),
    "lm_head.weight": ("head.table", "v d -> v d"),
    "transformer.h.{}.ln_1.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    "transformer.h.{}.ln_2.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    "transformer.h.{}.attn.attention.q_proj.weight": (
        "blocks.{}.attn.qkv.weight:q",
        "(k g h) d -> d k g h",
    ),
    "transformer.h.{}.attn.attention.k_proj.weight": (
        "blocks.{}.attn.qkv.weight:k",
        "(kv h) d -> d k 1 h",
    ),
    "transformer.h.{}.attn.attention.v_proj.weight": (
        "blocks.{}.attn.qkv.weight:v",
        "(kv h) d -> d k 1 h",
    ),
    "transformer.h.{}.attn.attention.out_proj.weight": (
        "blocks.{}.attn.out.weight",
        "d (k g h) -> k g h d",
    ),
    "transformer.h.{}.mlp.c_fc_0.weight": ("blocks.{}.mlp.gate_up.weight:gate", "f d -> d 1 f"),
    "transformer.h.{}.mlp.c_fc_1.weight": ("blocks.{}.mlp.gate_up.weight:up", "f d -> d 1 f"),
    "transformer.h.{}.mlp.c_proj.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
}
FAMILY = Family(config=config, block=llama.Block, weights=WEIGHTS)

"""Qwen (the first): a Llama with biases on q, k and v, which are one projection.

https://arxiv.org/abs/2309.16609
"""

from sgjax.layers.rope import RopeConfig
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    for key, value in _EXPECTED.items():
        hf.expect(key, value)
    for key in _WITHOUT_EFFECT:
        hf(key, None)
    num_heads, d_model = hf.size("num_attention_heads"), hf.size("hidden_size")
    d_ff = hf.size("intermediate_size")
    if d_ff % 2:
        raise hf.error("intermediate_size", "must be even: it counts gate and up together")
    cfg = ModelConfig(
        architecture=hf.architecture,
        vocab_size=hf.size("vocab_size"),
        num_layers=hf.size("num_hidden_layers"),
        d_model=d_model,
        d_ff=d_ff // 2,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=hf.size("kv_channels"),
        context_length=hf.size("seq_length"),
        norm_eps=hf.number("layer_norm_epsilon"),
        rope=RopeConfig(hf.number("rotary_emb_base")),
        tie_embeddings=hf.flag("tie_word_embeddings", False),
        qkv_bias=True,
    )
    hf.finish()
    return cfg


_EXPECTED = {
    "apply_residual_connection_post_layernorm": False,
    "no_bias": True,
    "rotary_pct": 1.0,
    "scale_attn_weights": True,
    "use_cache_quantization": False,
}
_WITHOUT_EFFECT = (
    # These say how texts longer than seq_length are read, and longer ones are not served.
    "max_position_embeddings",
    "use_dynamic_ntk",
    "use_logn_attn",
    # These say how the authors' code computes it.
    "bf16",
    "fp16",
    "fp32",
    "onnx_safe",
    "softmax_in_fp32",
    "tokenizer_type",
    "use_cache_kernel",
    "use_flash_attn",
)

WEIGHTS: Table = {
    "transformer.wte.weight": ("embed.table", "v d -> v d"),
    "transformer.ln_f.weight": ("norm.scale", "d -> d"),
    "lm_head.weight": ("head.table", "v d -> v d"),
    "transformer.h.{}.ln_1.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    "transformer.h.{}.ln_2.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    "transformer.h.{}.attn.c_attn.weight": [
        ("blocks.{}.attn.qkv.weight:q", "[(k g h)*|(kv h)|(kv h)] d -> d k g h"),
        ("blocks.{}.attn.qkv.weight:k", "[(k g h)|(kv h)*|(kv h)] d -> d k 1 h"),
        ("blocks.{}.attn.qkv.weight:v", "[(k g h)|(kv h)|(kv h)*] d -> d k 1 h"),
    ],
    "transformer.h.{}.attn.c_attn.bias": [
        ("blocks.{}.attn.qkv.bias:q", "[(k g h)*|(kv h)|(kv h)] -> k g h"),
        ("blocks.{}.attn.qkv.bias:k", "[(k g h)|(kv h)*|(kv h)] -> k 1 h"),
        ("blocks.{}.attn.qkv.bias:v", "[(k g h)|(kv h)|(kv h)*] -> k 1 h"),
    ],
    "transformer.h.{}.attn.c_proj.weight": ("blocks.{}.attn.out.weight", "d (k g h) -> k g h d"),
    "transformer.h.{}.mlp.w1.weight": ("blocks.{}.mlp.gate_up.weight:up", "f d -> d 1 f"),
    "transformer.h.{}.mlp.w2.weight": ("blocks.{}.mlp.gate_up.weight:gate", "f d -> d 1 f"),
    "transformer.h.{}.mlp.c_proj.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
}
FAMILY = Family(config=config, block=llama.Block, weights=WEIGHTS)

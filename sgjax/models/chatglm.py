"""ChatGLM2, ChatGLM3 and GLM-4 9B as they were first published: a GLM with other names.

https://arxiv.org/abs/2406.12793
"""

from sgjax.layers.rope import RopeConfig
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    hf.expect("position_encoding_2d", False)  # as the first ChatGLM, another model, says
    for key in ("add_bias_linear", "multi_query_attention", "seq_length"):
        hf(key)  # no default: that of the authors' code is no published model's
    for key, value in _EXPECTED.items():
        hf.expect(key, value)
    for key in _WITHOUT_EFFECT:
        hf(key, None)
    num_heads, vocab_size = hf.size("num_attention_heads"), hf.size("padded_vocab_size")
    num_layers = hf.size("num_layers")
    hf.expect("vocab_size", vocab_size)
    hf.expect("num_hidden_layers", num_layers)
    cfg = ModelConfig(
        architecture=hf.architecture,
        vocab_size=vocab_size,
        num_layers=num_layers,
        d_model=hf.size("hidden_size"),
        d_ff=hf.size("ffn_hidden_size"),
        num_heads=num_heads,
        num_kv_heads=hf.divisor("multi_query_group_num", num_heads, of="num_attention_heads"),
        head_size=hf.size("kv_channels"),
        context_length=hf.size("seq_length"),
        norm_eps=hf.number("layernorm_epsilon"),
        rope=RopeConfig(10000.0 * hf.number("rope_ratio", 1.0), fraction=0.5),
        tie_embeddings=hf.flag("tie_word_embeddings", False),
        qkv_bias=hf.flag("add_qkv_bias", False),
    )
    hf.finish()
    return cfg


_EXPECTED = {
    "add_bias_linear": False,
    "apply_residual_connection_post_layernorm": False,
    "fp32_residual_connection": False,
    "multi_query_attention": True,
    "original_rope": True,
    "post_layer_norm": True,
    "pre_seq_len": None,
    "quantization_bit": 0,
    "rmsnorm": True,
}
_WITHOUT_EFFECT = (
    "apply_query_key_layer_scaling",  # it divides queries, and multiplies scores again
    "attention_softmax_in_fp32",  # as ours always is
    "bias_dropout_fusion",
    "classifier_dropout",
    "max_length",
    "prefix_projection",  # of pre_seq_len
)

_LAYER = "transformer.encoder.layers.{}"
WEIGHTS: Table = {
    "transformer.embedding.word_embeddings.weight": ("embed.table", "v d -> v d"),
    "transformer.encoder.final_layernorm.weight": ("norm.scale", "d -> d"),
    "transformer.output_layer.weight": ("head.table", "v d -> v d"),
    f"{_LAYER}.input_layernorm.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    f"{_LAYER}.post_attention_layernorm.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    f"{_LAYER}.self_attention.query_key_value.weight": [
        ("blocks.{}.attn.qkv.weight:q", "[(k g i)*|(kv i)|(kv i)] d -> d k g h"),
        ("blocks.{}.attn.qkv.weight:k", "[(k g i)|(kv i)*|(kv i)] d -> d k 1 h"),
        ("blocks.{}.attn.qkv.weight:v", "[(k g h)|(kv h)|(kv h)*] d -> d k 1 h"),
    ],
    f"{_LAYER}.self_attention.query_key_value.bias": [
        ("blocks.{}.attn.qkv.bias:q", "[(k g i)*|(kv i)|(kv i)] -> k g h"),
        ("blocks.{}.attn.qkv.bias:k", "[(k g i)|(kv i)*|(kv i)] -> k 1 h"),
        ("blocks.{}.attn.qkv.bias:v", "[(k g h)|(kv h)|(kv h)*] -> k 1 h"),
    ],
    f"{_LAYER}.self_attention.dense.weight": ("blocks.{}.attn.out.weight", "d (k g h) -> k g h d"),
    f"{_LAYER}.mlp.dense_h_to_4h.weight": [
        ("blocks.{}.mlp.gate_up.weight:gate", "[f*|f] d -> d 1 f"),
        ("blocks.{}.mlp.gate_up.weight:up", "[f|f*] d -> d 1 f"),
    ],
    f"{_LAYER}.mlp.dense_4h_to_h.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
}
FAMILY = Family(
    config=config,
    block=llama.Block,
    weights=WEIGHTS,
    ignored=("rotary_pos_emb.inv_freq",),
)

"""SantaCoder's and StarCoder's GPT: learned positions, one kv head, LayerNorms, biases everywhere.

https://arxiv.org/abs/2305.06161
"""

from sgjax.layers.rope import RopeConfig
from sgjax.models import starcoder2
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    for key, value in _EXPECTED.items():
        hf.expect(key, value)
    for key in _WITHOUT_EFFECT:
        hf(key, None)
    d_model, num_layers = hf.size("n_embd"), hf.size("n_layer")
    num_positions = hf.size("n_positions")
    num_heads = hf.divisor("n_head", d_model, of="n_embd")
    cfg = ModelConfig(
        architecture=hf.architecture,
        vocab_size=hf.size("vocab_size"),
        num_layers=num_layers,
        d_model=d_model,
        d_ff=hf.size("n_inner", 4 * d_model),
        num_heads=num_heads,
        num_kv_heads=1,
        head_size=d_model // num_heads,
        context_length=num_positions,
        num_positions=num_positions,
        norm="biased_layer",
        norm_eps=hf.number("layer_norm_epsilon"),
        rope=RopeConfig(),
        layer_ropes=(None,) * num_layers,
        activation=hf.activation("activation_function"),
        tie_embeddings=hf.flag("tie_word_embeddings", True),
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
    )
    hf.finish()
    return cfg


_EXPECTED = {
    "add_cross_attention": False,
    "multi_query": True,  # else c_attn is packed in another way
    "num_key_value_heads": 1,
    "scale_attn_weights": True,
}
_WITHOUT_EFFECT = (
    "attention_softmax_in_fp32",  # it always is
    "inference_runner",
    "max_batch_size",
    "max_sequence_length",
    "pad_key_length",
    "pre_allocate_kv_cache",
    "runner_max_sequence_length",
    "scale_attention_softmax_in_fp32",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "validate_runner_input",
)

WEIGHTS: Table = {
    "transformer.wte.weight": ("embed.table", "v d -> v d"),
    "transformer.wpe.weight": ("positions.table", "p d -> p d"),
    "transformer.ln_f.weight": ("norm.scale", "d -> d"),
    "transformer.ln_f.bias": ("norm.bias", "d -> d"),
    "lm_head.weight": ("head.table", "v d -> v d"),
    "transformer.h.{}.ln_1.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    "transformer.h.{}.ln_1.bias": ("blocks.{}.attn_norm.bias", "d -> d"),
    "transformer.h.{}.ln_2.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    "transformer.h.{}.ln_2.bias": ("blocks.{}.mlp_norm.bias", "d -> d"),
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
    "transformer.h.{}.attn.c_proj.bias": ("blocks.{}.attn.out.bias", "d -> d"),
    "transformer.h.{}.mlp.c_fc.weight": ("blocks.{}.mlp.up.weight", "f d -> d f"),
    "transformer.h.{}.mlp.c_fc.bias": ("blocks.{}.mlp.up.bias", "f -> f"),
    "transformer.h.{}.mlp.c_proj.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
    "transformer.h.{}.mlp.c_proj.bias": ("blocks.{}.mlp.down.bias", "d -> d"),
}
FAMILY = Family(config=config, block=starcoder2.Block, weights=WEIGHTS)

"""What config.json says of dense families is understood, and what they cannot do is refused."""

from typing import Any

import pytest

from sgjax.errors import ConfigError
from sgjax.models import find_family
from sgjax.models.family import ModelConfig
from sgjax.models.hf_config import HFConfig
from tests.models.published_dense import (
    AUSTRAL,
    CHATGLM3,
    ERNIE_45,
    EXAONE_3,
    EXAONE_4,
    GLM,
    MINITRON,
    MODELS,
    QWEN,
    SEED_OSS,
    SMOLLM3,
    STARCODER,
    STARCODER2,
)


def read(values: dict[str, Any]) -> ModelConfig:
    hf = HFConfig(values)
    return find_family(hf.architecture).config(hf)


def without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


def test_qwen_reads_as_many_tokens_as_it_was_trained_on_and_no_more():
    """Beyond them it would change its rotation and its scores with the length of the text."""
    cfg = read(QWEN)
    assert (cfg.context_length, cfg.d_ff) == (8192, 11008)
    with pytest.raises(ConfigError, match=r"must be in \[1, 8192\]"):
        cfg.with_context_length(8193)


def test_chatglm_multiplies_its_rope_theta():
    rope = read(MODELS["GLM-4-9B-chat"].config).rope
    assert (rope.theta, rope.fraction) == (5e6, 0.5)
    assert read(CHATGLM3).rope.theta == 1e4


def test_glm_says_the_same_in_both_of_its_forms():
    first, second = read(MODELS["GLM-4-9B-chat"].config), read(GLM)
    assert (first.rope, first.d_ff, first.head_size) == (second.rope, second.d_ff, second.head_size)


def test_smollm3_does_not_rotate_in_every_fourth_layer_whether_it_lists_them_or_not():
    cfg = read(SMOLLM3)
    ropes = [cfg.layer_rope(layer) for layer in range(8)]
    assert ropes == [cfg.rope, cfg.rope, cfg.rope, None] * 2
    assert read(without(SMOLLM3, "no_rope_layers")) == cfg


def test_exaone4_rotates_where_it_has_a_window_or_in_all_layers_if_none_has():
    cfg = read(EXAONE_4)
    assert [cfg.window(layer) for layer in range(4)] == [4096, 4096, 4096, None]
    assert [cfg.layer_rope(layer) for layer in range(4)] == [cfg.rope] * 3 + [None]
    small = read(MODELS["EXAONE-4.0-1.2B"].config)
    assert {small.layer_rope(layer) for layer in range(30)} == {small.rope}
    assert {small.window(layer) for layer in range(30)} == {None}


def test_starcoder_has_a_learned_vector_for_each_position_and_does_not_rotate():
    cfg = read(STARCODER)
    assert (cfg.num_positions, cfg.context_length, cfg.num_kv_heads) == (8192, 8192, 1)
    assert cfg.layer_rope(0) is None


def test_nemotron_rotates_the_part_that_either_of_two_keys_says():
    old = without(MINITRON, "partial_rotary_factor") | {"rope_percent": 0.25, "kv_channels": 128}
    assert read(old).rope.fraction == 0.25
    assert read(MINITRON).rope.fraction == 0.5


def test_seed_oss_tells_the_biases_before_attention_from_those_behind_it():
    cfg = read(SEED_OSS)
    assert (cfg.qkv_bias, cfg.out_bias, cfg.mlp_bias) == (True, False, False)
    assert read(SEED_OSS | {"attention_out_bias": True}).out_bias
    assert cfg.num_heads * cfg.head_size == 2 * cfg.d_model


BAD = {
    "the first chatglm": (
        {
            "architectures": ["ChatGLMModel"],
            "hidden_size": 4096,
            "inner_hidden_size": 16384,
            "position_encoding_2d": True,
        },
        "position_encoding_2d = true is supported as False",
    ),
    "chatglm with biases everywhere": (
        CHATGLM3 | {"add_bias_linear": True},
        "add_bias_linear = true is supported as False",
    ),
    "chatglm that leaves its biases out": (
        without(CHATGLM3, "add_bias_linear"),
        "lacks 'add_bias_linear'",
    ),
    "chatglm without kv groups": (
        CHATGLM3 | {"multi_query_attention": False},
        "multi_query_attention = false is supported as True",
    ),
    "chatglm with LayerNorms": (CHATGLM3 | {"rmsnorm": False}, "rmsnorm = false is supported"),
    "chatglm in integers": (CHATGLM3 | {"quantization_bit": 4}, "quantization_bit = 4 is supp"),
    "chatglm with a trained prefix": (CHATGLM3 | {"pre_seq_len": 8}, "pre_seq_len = 8 is supp"),
    "chatglm with two vocabularies": (
        CHATGLM3 | {"vocab_size": 64794},
        "vocab_size = 64794 is supported as 65024",
    ),
    "glm that leaves its heads' size out": (without(GLM, "head_dim"), "lacks 'head_dim'"),
    "qwen with biases everywhere": (QWEN | {"no_bias": False}, "no_bias = false is supported"),
    "qwen that rotates parts": (QWEN | {"rotary_pct": 0.5}, "rotary_pct = 0.5 is supported as 1.0"),
    "qwen with an odd width": (QWEN | {"intermediate_size": 22017}, "must be even"),
    "ernie that leaves its heads' size out": (without(ERNIE_45, "head_dim"), "lacks 'head_dim'"),
    "ernie that rotates parts": (
        ERNIE_45 | {"partial_rotary_factor": 0.5},
        "turns a part of each head",
    ),
    "exaone that rotates parts": (
        EXAONE_3 | {"partial_rotary_factor": 0.5},
        "turns a part of each head",
    ),
    "exaone4 with windows, but none": (
        EXAONE_4 | {"sliding_window": None},
        "has sliding layers, but sliding_window is off",
    ),
    "exaone4 that leaves its layers out": (without(EXAONE_4, "layer_types"), "lacks 'layer_types'"),
    "smollm3 with windows": (
        SMOLLM3 | {"use_sliding_window": True},
        "use_sliding_window = true is supported as False",
    ),
    "smollm3 with layers too few": (
        SMOLLM3 | {"no_rope_layers": [1, 0]},
        r"no_rope_layers = \[1, 0\] must have 0 or 1 for each of the 36 layers",
    ),
    "smollm3 that leaves its theta out": (without(SMOLLM3, "rope_theta"), "lacks 'rope_theta'"),
    "starcoder2 with a gate": (
        STARCODER2 | {"mlp_type": "gated"},
        "mlp_type = \"gated\" is supported as 'default'",
    ),
    "starcoder2 with RMSNorms": (STARCODER2 | {"norm_type": "rmsnorm"}, "norm_type = "),
    "starcoder2 with two epsilons": (
        STARCODER2 | {"layer_norm_epsilon": 1e-6},
        "layer_norm_epsilon = 1e-06 is supported as 1e-05",
    ),
    "starcoder with kv heads": (
        STARCODER | {"multi_query": False},
        "multi_query = false is supported as True",
    ),
    "starcoder with scores as they are": (
        STARCODER | {"scale_attn_weights": False},
        "scale_attn_weights = false is supported as True",
    ),
    "starcoder that reads another text": (
        STARCODER | {"add_cross_attention": True},
        "add_cross_attention = true is supported as False",
    ),
    "nemotron with two parts": (
        MINITRON | {"rope_percent": 0.25},
        "rope_percent = 0.25 contradicts partial_rotary_factor = 0.5",
    ),
    "nemotron with heads of two sizes": (
        MINITRON | {"kv_channels": 64},
        "kv_channels = 64 is supported as 128",
    ),
    "nemotron that leaves its epsilon out": (without(MINITRON, "norm_eps"), "lacks 'norm_eps'"),
    "arcee with an unknown activation": (
        AUSTRAL | {"hidden_act": "xielu"},
        'hidden_act = "xielu" is not known',
    ),
    "arcee that leaves its activation out": (without(AUSTRAL, "hidden_act"), "lacks 'hidden_act'"),
    "arcee that leaves its epsilon out": (without(AUSTRAL, "rms_norm_eps"), "lacks 'rms_norm_eps'"),
    "arcee that rotates parts": (
        AUSTRAL | {"partial_rotary_factor": 0.5},
        "turns a part of each head",
    ),
    "seed-oss that leaves its heads' size out": (without(SEED_OSS, "head_dim"), "lacks 'head_dim'"),
    "seed-oss that leaves its kv heads out": (
        without(SEED_OSS, "num_key_value_heads"),
        "lacks 'num_key_value_heads'",
    ),
    "seed-oss that leaves its biases out": (
        without(SEED_OSS, "attention_bias"),
        "lacks 'attention_bias'",
    ),
    "seed-oss with windows": (SEED_OSS | {"sliding_window": 4096}, "sliding_window = 4096"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_family_does_not_do_is_refused_by_name(name):
    values, message = BAD[name]
    with pytest.raises(ConfigError, match=message):
        read(values)

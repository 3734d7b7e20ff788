"""config.json is read strictly: what is not understood is an error that says what is wrong."""

import json
from typing import Any

import pytest

from sgjax.errors import ConfigError
from sgjax.models import FAMILIES, find_family, read_model_config
from sgjax.models.family import ModelConfig
from sgjax.models.hf_config import HFConfig
from tests.models.published import LLAMA_3, LLAMA_31, MODELS, QWEN2


def read(values: dict[str, Any]) -> ModelConfig:
    hf = HFConfig(values)
    return find_family(hf.architecture).config(hf)


def with_rope(**scaling: Any) -> dict[str, Any]:
    return LLAMA_3 | {"rope_scaling": scaling}


def test_both_dialects_of_rope_say_the_same():
    old = LLAMA_31
    new = {key: value for key, value in old.items() if key not in ("rope_theta", "rope_scaling")}
    new["rope_parameters"] = old["rope_scaling"] | {"rope_theta": old["rope_theta"]}
    assert read(new) == read(old)


def test_null_is_the_same_as_absent():
    nothing = {"head_dim": None, "rope_scaling": None, "runner_max_sequence_length": None}
    assert read(LLAMA_3 | nothing) == read(LLAMA_3)


def test_what_transformers_may_write_for_any_model_says_nothing():
    neutral = {"is_encoder_decoder": False, "pruned_heads": {}, "max_length": 20, "num_beams": 1}
    assert read(LLAMA_3 | neutral) == read(LLAMA_3)


def test_llama_1_has_as_many_kv_heads_as_heads():
    assert read(MODELS["Llama-7B"].config).num_kv_heads == 32


def test_the_sizes_of_a_head_follow_from_the_width_unless_given():
    assert read(LLAMA_3).head_size == 128
    assert read(LLAMA_3 | {"head_dim": 64}).head_size == 64


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ({}, 8192),
        ({"max_sequence_length": 1000}, 1000),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 16384),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, 16384),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, 32768),
        (
            {
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 2048,
                }
            },
            8192,
        ),
    ],
)
def test_the_context_is_what_was_trained_times_what_rope_stretches(values, length):
    assert read(LLAMA_3 | values).context_length == length


BAD = {
    "an unknown key": (LLAMA_3 | {"rope_thetta": 1.0}, r"rope_thetta = 1.0 \(near: rope_theta\)"),
    "an encoder beside": (
        LLAMA_3 | {"is_encoder_decoder": True},
        "is_encoder_decoder = true is supported as False only",
    ),
    "features that turn side by side": (
        LLAMA_3 | {"rope_interleaved": True},
        "rope_interleaved = true is supported as False only",
    ),
    "quantised": (
        LLAMA_3 | {"quantization_config": {"quant_method": "awq"}},
        r'quantization_config = \{"quant_method": "awq"\}',
    ),
    "a size missing": (
        {key: value for key, value in LLAMA_3.items() if key != "hidden_size"},
        "lacks 'hidden_size'",
    ),
    "a size of zero": (LLAMA_3 | {"num_hidden_layers": 0}, "num_hidden_layers = 0 must be a pos"),
    "a size that is true": (LLAMA_3 | {"hidden_size": True}, "hidden_size = true must be a posi"),
    "a size in words": (LLAMA_3 | {"vocab_size": "many"}, 'vocab_size = "many" must be a positive'),
    "heads that do not divide": (
        LLAMA_3 | {"num_attention_heads": 33, "num_key_value_heads": 33},
        "num_attention_heads = 33 must divide hidden_size = 4096",
    ),
    "kv heads that do not divide": (
        LLAMA_3 | {"num_key_value_heads": 5},
        "num_key_value_heads = 5 must divide num_attention_heads = 32",
    ),
    "odd heads": (LLAMA_3 | {"head_dim": 63}, "heads have 63 features"),
    "an unknown activation": (LLAMA_3 | {"hidden_act": "mish"}, "is not known; known: silu, swish"),
    "a flag that is a number": (LLAMA_3 | {"mlp_bias": 1}, "mlp_bias = 1 must be true or false"),
    "eps in words": (LLAMA_3 | {"rms_norm_eps": "tiny"}, "rms_norm_eps = .* must be a number"),
    "no context": (
        {key: value for key, value in LLAMA_3.items() if key != "max_position_embeddings"},
        "max_position_embeddings = null must say how many tokens",
    ),
    "unknown rope": (
        with_rope(rope_type="spiral"),
        "known: default, linear, llama3, yarn, longrope",
    ),
    "rope lacks a number": (with_rope(type="linear"), "lacks factor"),
    "rope has a key too many": (
        with_rope(type="linear", factor=2.0, speed=3),
        "has speed, unknown",
    ),
    "rope factor in words": (with_rope(type="linear", factor="2"), "positive number as factor"),
    "rope that hardly turns": (
        LLAMA_3 | {"rope_theta": 1.0},
        "rope_theta = 1.0 needs a theta above",
    ),
    "rope theta in words": (
        with_rope(type="linear", factor=2.0, rope_theta="x"),
        "needs a theta ab",
    ),
    "rope that is a list": (LLAMA_3 | {"rope_scaling": [1]}, "must be an object or null"),
    "two ropes": (
        with_rope(type="linear", factor=2.0) | {"rope_parameters": {"rope_type": "default"}},
        "contradicts rope_parameters",
    ),
    "part of a head turns": (
        LLAMA_3 | {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        "turns a part of each head",
    ),
    "layer types of other layers": (
        QWEN2 | {"layer_types": ["full_attention"]},
        "for each of the 28 layers",
    ),
    "layer types that are no list": (QWEN2 | {"layer_types": "full"}, "for each of the 28 layers"),
    "windows from which layer on": (
        {key: value for key, value in QWEN2.items() if key != "max_window_layers"}
        | {"use_sliding_window": True},
        "lacks 'max_window_layers'",
    ),
    "sliding layers without a window": (
        QWEN2 | {"layer_types": ["sliding_attention"] * 28},
        "use_sliding_window or sliding_window is off",
    ),
    "images in the rope": (QWEN2 | {"use_mrope": True}, "use_mrope = true is supported as False"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_config_is_an_error_that_names_key_value_and_rule(name):
    values, message = BAD[name]
    with pytest.raises(ConfigError, match=message):
        read(values)


def test_an_unknown_architecture_is_an_error_that_lists_the_known_nearest_first():
    with pytest.raises(ConfigError) as error:
        find_family("Qwen3ForCausaLM")
    assert "Supported: Qwen3ForCausalLM, " in str(error.value)
    assert all(name in str(error.value) for name in FAMILIES)


@pytest.mark.parametrize("names", [None, [], ["A", "B"], "LlamaForCausalLM"])
def test_the_architecture_must_be_a_list_of_one_name(names):
    with pytest.raises(ConfigError, match="must be a list of one name"):
        read(LLAMA_3 | {"architectures": names})


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "There is no config.json"), ("{", "is not JSON"), ("[]", "must hold a JSON object")],
)
def test_a_config_json_that_is_none_is_an_error(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_model_config(tmp_path)


def test_a_shorter_context_can_be_asked_for_and_a_longer_one_cannot(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3))
    _, cfg = read_model_config(tmp_path, context_length=100)
    assert cfg.context_length == 100
    with pytest.raises(ConfigError, match=r"--context-length 8193 must be in \[1, 8192\]"):
        read_model_config(tmp_path, context_length=8193)


@pytest.mark.parametrize(
    ("tp", "heads", "repeat"), [(1, 8, 1), (8, 8, 1), (16, 16, 2), (32, 32, 4)]
)
def test_kv_heads_are_repeated_until_all_devices_have_one(tp, heads, repeat):
    cfg = read(LLAMA_3).for_tp(tp)
    assert (cfg.num_kv_heads, cfg.kv_repeat, cfg.group_size) == (heads, repeat, 32 // heads)


@pytest.mark.parametrize(
    ("values", "tp", "message"),
    [
        ({}, 3, "does not divide num_attention_heads = 32"),
        ({"intermediate_size": 14337}, 2, "does not divide intermediate_size = 14337"),
        (
            {"num_attention_heads": 24, "num_key_value_heads": 6, "head_dim": 128},
            4,
            "num_key_value_heads = 6: one must divide the other.*--tp-size 1, 2, 3, 6, 12, 24",
        ),
    ],
)
def test_devices_that_cannot_share_a_model_are_an_error_that_says_which_could(values, tp, message):
    with pytest.raises(ConfigError, match=message):
        read(
            LLAMA_3 | values | {"intermediate_size": values.get("intermediate_size", 14400)}
        ).for_tp(tp)


def test_the_vocabulary_is_padded_where_devices_cannot_share_it():
    assert read(LLAMA_3 | {"vocab_size": 32001}).for_tp(4).vocab_padding == 3
    assert read(LLAMA_3).for_tp(4).vocab_padding == 0

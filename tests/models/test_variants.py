"""What config.json of models that vary a Llama's block may say, and what is refused."""

from typing import Any

import pytest

from sgjax.errors import ConfigError
from sgjax.models import find_family
from sgjax.models.family import ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import head_layer_norms_of
from tests.models.published_variants import (
    COMMAND_R,
    COMMAND_R7B,
    GEMMA2,
    GEMMA3,
    GRANITE,
    MINICPM,
    PHI3,
    PHI3_LONG,
    PHI4_MINI,
    STABLELM,
    STABLELM_12B,
)


def read(values: dict[str, Any]) -> ModelConfig:
    hf = HFConfig(values)
    return find_family(hf.architecture).config(hf)


def test_su_is_an_older_name_of_longrope():
    scaling = PHI3_LONG["rope_scaling"] | {"type": "longrope"}
    assert read(PHI3_LONG | {"rope_scaling": scaling}) == read(PHI3_LONG)


def test_longrope_is_short_where_the_context_is_the_original_one():
    original = {"max_position_embeddings": 4096}
    rope = read(PHI3_LONG | original).with_context_length(None).rope
    assert rope.param("served_context") == 4096


def test_three_quarters_of_phi_4_minis_heads_turn():
    cfg = read(PHI4_MINI)
    assert (cfg.head_size, cfg.rope.num_turned(cfg.head_size)) == (128, 96)


def test_phi_3_has_its_window_in_every_layer():
    assert {read(PHI3).window(layer) for layer in range(32)} == {2047}


def test_a_window_that_is_as_long_as_the_context_is_none():
    assert PHI3_LONG["sliding_window"] > PHI3_LONG["max_position_embeddings"]
    assert {read(PHI3_LONG).window(layer) for layer in range(32)} == {None}
    windows = [read(PHI3).with_context_length(length).window(0) for length in (2048, 2047)]
    assert windows == [2047, None]


def test_one_of_six_layers_of_gemma_3_has_no_window_and_turns_slowly():
    cfg = read(GEMMA3)
    assert cfg.windows[:7] == (512,) * 5 + (None, 512)
    assert [rope and rope.theta for rope in cfg.layer_ropes[4:7]] == [1e4, 1e6, 1e4]


def test_gemma_3_scales_the_rope_of_its_full_layers_alone_and_reads_no_more_for_it():
    cfg = read(GEMMA3 | {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}})
    assert [rope and rope.param("factor") for rope in cfg.layer_ropes[4:7]] == [None, 8.0, None]
    assert cfg.context_length == 32768


def test_both_dialects_of_gemma_3_say_the_same():
    old = GEMMA3 | {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
    ropes = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    other = ("rope_scaling", "rope_theta", "rope_local_base_freq", "sliding_window_pattern")
    new = {key: value for key, value in old.items() if key not in other}
    kinds = ["sliding_attention" if layer % 6 < 5 else "full_attention" for layer in range(26)]
    assert read(new | {"rope_parameters": ropes, "layer_types": kinds}) == read(old)


def test_gemma_3_knows_its_thetas_where_config_json_does_not_say_them():
    silent = ("rope_theta", "rope_local_base_freq")
    assert read({key: value for key, value in GEMMA3.items() if key not in silent}) == read(GEMMA3)


def test_one_of_four_layers_of_command_r7b_has_neither_a_window_nor_rope():
    cfg = read(COMMAND_R7B)
    assert cfg.windows[:5] == (4096,) * 3 + (None, 4096)
    assert [rope and rope.theta for rope in cfg.layer_ropes[2:5]] == [5e4, None, 5e4]


def test_command_r_is_served_with_the_context_it_was_made_for():
    assert read(COMMAND_R).context_length == 131072
    assert read(COMMAND_R | {"model_max_length": None}).context_length == 8192


def test_stablelm_knows_older_names():
    old = {"rope_pct": STABLELM["partial_rotary_factor"], "norm_eps": STABLELM["layer_norm_eps"]}
    gone = ("partial_rotary_factor", "layer_norm_eps")
    assert read({key: value for key, value in STABLELM.items() if key not in gone} | old) == read(
        STABLELM
    )


def test_a_quarter_of_stablelms_heads_turns():
    cfg = read(STABLELM_12B)
    assert (cfg.head_size, cfg.rope.num_turned(cfg.head_size)) == (160, 40)


def test_normed_heads_are_shared_as_the_heads_are():
    cfg = read(STABLELM_12B).for_tp(16)
    q_norm, k_norm = head_layer_norms_of(cfg) or ()
    assert (q_norm.scale.shape, k_norm.scale.shape) == ((16, 2, 160), (16, 1, 160))


def test_granites_factors_are_those_of_config_json():
    cfg = read(GRANITE)
    assert (cfg.embed_scale, cfg.attn_scale, cfg.residual_scale) == (12.0, 2**-7, 0.22)
    assert cfg.logit_scale == 1 / 16


def test_minicpms_factors_follow_from_its_depth_and_width():
    cfg = read(MINICPM)
    assert (cfg.embed_scale, cfg.attn_scale) == (12.0, None)
    assert cfg.residual_scale == pytest.approx(1.4 / 40**0.5)
    assert cfg.logit_scale == pytest.approx(256 / 2304)


BAD = {
    "a scaled rotation": (
        STABLELM | {"rotary_scaling_factor": 2.0},
        "rotary_scaling_factor = 2.0 is supported as 1.0",
    ),
    "logits divided by nothing": (
        GRANITE | {"logits_scaling": 0},
        "logits_scaling = 0 must be above 0",
    ),
    "experts": (MINICPM | {"num_experts": 8}, "num_experts = 8 is supported as 0"),
    "attention that leaves out tokens": (
        MINICPM | {"sparse_config": {"kernel_size": 32}},
        "has keys that MiniCPMForCausalLM does not know.*sparse_config",
    ),
    "another depth": (
        MINICPM | {"mup_denominator": 32},
        "mup_denominator = 32 is supported as 40",
    ),
    "no factor": (
        {key: value for key, value in MINICPM.items() if key != "scale_emb"},
        "lacks 'scale_emb'",
    ),
    "layers one after the other": (
        COMMAND_R7B | {"use_parallel_block": False},
        "use_parallel_block = false is supported as True",
    ),
    "normed heads and windows": (
        COMMAND_R7B | {"use_qk_norm": True},
        "use_qk_norm = true is supported as False",
    ),
    "windows of two sizes": (
        GEMMA2 | {"sliding_window_size": 2048},
        "sliding_window_size = 2048 is supported as 4096",
    ),
    "capped scores": (
        GEMMA3 | {"attn_logit_softcapping": 50.0},
        "attn_logit_softcapping = 50.0 is supported as None",
    ),
    "texts read both ways": (
        GEMMA3 | {"use_bidirectional_attention": True},
        "use_bidirectional_attention = true is supported as False",
    ),
    "a local theta in words": (
        GEMMA3 | {"rope_local_base_freq": "x"},
        'rope_local_base_freq = "x" needs a theta above 1',
    ),
    "a local rope without its numbers": (
        GEMMA3 | {"rope_parameters": {"sliding_attention": {"rope_type": "linear"}}},
        "lacks factor, which rope_type 'linear' needs",
    ),
    "biases": (PHI3 | {"attention_bias": True}, "attention_bias = true is supported as False"),
    "phi's half-full attention": (PHI4_MINI | {"full_attn_mod": 2}, "full_attn_mod = 2 is supp"),
    "too few factors": (
        PHI3_LONG | {"rope_scaling": PHI3_LONG["rope_scaling"] | {"long_factor": [1.0] * 40}},
        "has 40 numbers as long_factor, but RoPE turns 48 pairs",
    ),
    "factors of the wrong part": (
        PHI4_MINI | {"partial_rotary_factor": 0.5},
        "has 48 numbers as short_factor, but RoPE turns 32 pairs",
    ),
    "half a pair": (
        PHI3 | {"partial_rotary_factor": 0.99},
        "partial_rotary_factor = 0.99 leaves 95 of the 96 features",
    ),
    "half a pair, as transformers 5 says it": (
        {key: value for key, value in PHI3.items() if not key.startswith("rope_")}
        | {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.99}},
        r"rope_parameters = .*0.99.* leaves 95 of the 96 features",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_config_is_an_error_that_names_key_value_and_rule(name):
    values, message = BAD[name]
    with pytest.raises(ConfigError, match=message):
        read(values)

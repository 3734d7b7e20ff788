"""What config.json of models that vary a Llama's block may say, and what is refused."""

from typing import Any

import pytest

from sgjax.errors import ConfigError
from sgjax.models import find_family
from sgjax.models.family import ModelConfig
from sgjax.models.hf_config import HFConfig
from tests.models.published_variants import PHI3, PHI3_LONG, PHI4_MINI


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
    assert set(read(PHI3).windows) == {2047}


BAD = {
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
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_config_is_an_error_that_names_key_value_and_rule(name):
    values, message = BAD[name]
    with pytest.raises(ConfigError, match=message):
        read(values)

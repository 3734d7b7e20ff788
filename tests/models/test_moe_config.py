"""What config.json says of experts is read strictly, too."""

from typing import Any

import pytest

from sgjax.errors import ConfigError
from sgjax.layers.query_scale import QueryScale
from sgjax.models import find_family
from sgjax.models.family import ModelConfig
from sgjax.models.hf_config import HFConfig
from tests.models.published_moe import (
    DBRX,
    DEEPSEEK,
    GLM_AIR,
    GPT_OSS,
    GROK,
    LLAMA_4,
    MIXTRAL,
    QWEN3_MOE,
    QWEN_MOE,
)


def read(values: dict[str, Any]) -> ModelConfig:
    hf = HFConfig(values)
    return find_family(hf.architecture).config(hf)


BAD = {
    "more experts a token than there are": (
        MIXTRAL | {"num_experts_per_tok": 9},
        "num_experts_per_tok = 9 must be at most num_local_experts = 8",
    ),
    "dense layers that are not there": (
        QWEN_MOE | {"mlp_only_layers": [24]},
        "mlp_only_layers = .24. must list some of the 24 layers",
    ),
    "no layer with experts": (
        QWEN3_MOE | {"decoder_sparse_step": 100},
        "decoder_sparse_step = 100 and mlp_only_layers leave no layer with experts",
    ),
    "windows of a part of the layers": (
        QWEN_MOE | {"use_sliding_window": True},
        "use_sliding_window = true is supported as False only",
    ),
    "no number of experts": (
        {key: value for key, value in QWEN3_MOE.items() if key != "num_experts"},
        "lacks 'num_experts'",
    ),
    "another scoring": (
        DEEPSEEK | {"scoring_func": "sigmoid"},
        'scoring_func = "sigmoid" is supported as .softmax. only',
    ),
    "all layers dense": (
        DEEPSEEK | {"first_k_dense_replace": 28},
        "first_k_dense_replace = 28 and moe_layer_freq leave no layer with experts",
    ),
    "groups that do not divide": (
        GLM_AIR | {"n_group": 3},
        "n_group = 3 must divide n_routed_experts = 128",
    ),
    "more groups than there are": (
        GLM_AIR | {"topk_group": 2},
        "topk_group = 2 must be at most n_group = 1",
    ),
    "four bits": (
        GPT_OSS | {"quantization_config": {"quant_method": "mxfp4"}},
        "quantization_config = .* is not supported: weights must have 16 or 32 bits",
    ),
    "another gate": (
        GPT_OSS | {"swiglu_limit": 5.0},
        "swiglu_limit = 5.0 is supported as 7.0 only",
    ),
    "weights of another norm": (
        DBRX | {"ffn_config": DBRX["ffn_config"] | {"moe_normalize_expert_weights": 2}},
        "ffn_config: moe_normalize_expert_weights = 2 is supported as 1 only",
    ),
    "an unknown key inside": (
        DBRX | {"attn_config": DBRX["attn_config"] | {"rope_tetha": 1.0}},
        r"attn_config has keys that DbrxForCausalLM does not know.*rope_tetha",
    ),
    "an object that is none": (DBRX | {"attn_config": 3}, "attn_config = 3 must be an object"),
    "two ropes": (
        DBRX | {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}},
        "rope_parameters = .* contradicts attn_config, where rope_theta = 500000.0",
    ),
    "another cap": (
        GROK | {"router_logit_softcapping": 5.0},
        "router_logit_softcapping = 5.0 is supported as 30.0 only",
    ),
    "two experts whose inputs are weighed": (
        LLAMA_4 | {"num_experts_per_tok": 2},
        "num_experts_per_tok = 2 is supported as 1 only",
    ),
    "layers without rope of another model": (
        LLAMA_4 | {"no_rope_layers": [1, 0]},
        "no_rope_layers = .1, 0. must say 1 or 0 for each of 48 layers",
    ),
    "layers in windows, not in chunks": (
        LLAMA_4 | {"layer_types": ["sliding_attention"] * 48},
        "layer_types = .* must list 'full_attention' or 'chunked_attention' for each of the 48",
    ),
    "chunks of no size": (
        LLAMA_4 | {"attention_chunk_size": None, "layer_types": ["chunked_attention"] * 48},
        "lacks 'attention_chunk_size'",
    ),
    "chunks that are not spoken of": (
        {key: value for key, value in LLAMA_4.items() if key != "attention_chunk_size"},
        "lacks 'attention_chunk_size'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_config_is_an_error_that_names_key_value_and_rule(name):
    values, message = BAD[name]
    with pytest.raises(ConfigError, match=message):
        read(values)


def test_layers_have_experts_where_the_config_says_so():
    assert read(DEEPSEEK).moe.layers == (False,) + (True,) * 27
    every_other = read(LLAMA_4 | {"interleave_moe_layer_step": 2}).moe.layers
    assert every_other == (False, True) * 24
    assert read(QWEN_MOE | {"mlp_only_layers": [3]}).moe.layers.index(False) == 3


def test_llama_4_has_chunks_where_it_turns_and_scaled_queries_where_not():
    cfg = read(LLAMA_4)
    scale = QueryScale(interval=8192, strength=0.1)
    assert [cfg.chunk(layer) for layer in range(4)] == [8192, 8192, 8192, None]
    assert [cfg.query_scale(layer) for layer in range(4)] == [None, None, None, scale]
    assert [cfg.sees_all(layer) for layer in range(4)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("length", "chunk", "is_scaled"), [(8191, None, False), (8192, None, True), (8193, 8192, True)]
)
def test_short_texts_know_nothing_of_chunks_and_scales(length, chunk, is_scaled):
    cfg = read(LLAMA_4).with_context_length(length)
    assert cfg.chunk(0) == chunk
    assert (cfg.query_scale(3) is not None) == is_scaled


def test_llama_4_has_chunks_where_its_layer_types_say_so():
    types = ["full_attention", "chunked_attention"] * 24
    chunks = read(LLAMA_4 | {"layer_types": types}).chunks
    assert chunks == (None, 8192) * 24
    whole = {"layer_types": ["full_attention"] * 48, "attention_chunk_size": None}
    assert read(LLAMA_4 | whole).chunks == ()


def test_llama_4_has_no_chunks_where_it_says_that_their_size_is_null():
    """And not where it says nothing of them: that stands for a size in transformers."""
    cfg = read(LLAMA_4 | {"attention_chunk_size": None})
    assert cfg.chunks == ()
    assert cfg.layer_ropes == read(LLAMA_4).layer_ropes


def test_llama_4_has_no_experts_where_no_layer_has_them():
    """As MobileLLM-R1 is published."""
    none = {"num_experts_per_tok": 0, "num_local_experts": 0, "interleave_moe_layer_step": 0}
    cfg = read(LLAMA_4 | none | {"moe_layers": []})
    assert (cfg.moe, cfg.d_ff) == (None, 16384)

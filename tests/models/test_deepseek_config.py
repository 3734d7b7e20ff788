"""DeepSeek's config.json: what is refused, and what its sizes mean for devices."""

import numpy as np
import pytest

from sgjax.cache.kv_cache import kv_bytes_per_token
from sgjax.errors import ConfigError
from sgjax.models import find_family
from sgjax.models.hf_config import HFConfig
from tests.models.published_deepseek import FP8, V2, V2_LITE, V3


def read(config):
    hf = HFConfig(config)
    return find_family(hf.architecture).config(hf)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (V3 | FP8, r"quantization_config = .* Serve the model's bfloat16 form: .*fp8_cast_bf16"),
        (V3 | {"topk_method": "greedy"}, "topk_method = .* is supported as 'noaux_tc' only"),
        (V3 | {"scoring_func": "softmax"}, "scoring_func = .* is supported as 'sigmoid' only"),
        (V3 | {"rope_interleave": False}, "rope_interleave = false is supported as True only"),
        (V3 | {"topk_group": 9}, "topk_group = 9 must be at most n_group = 8"),
        (V3 | {"n_group": 7}, "n_group = 7 must divide n_routed_experts = 256"),
        (V3 | {"n_group": 256}, "topk_group = 4 groups have fewer than 8 experts"),
        (V2 | {"topk_method": "noaux_tc"}, "must be greedy or group_limited_greedy"),
        (V2 | {"norm_topk_prob": True}, "norm_topk_prob = true is supported as False only"),
        (V2 | {"moe_layer_freq": 2}, "moe_layer_freq = 2 is supported as 1 only"),
        (V2 | {"first_k_dense_replace": 61}, r"must be in \[0, 60\]"),
        (V2 | {"num_key_value_heads": 8}, "num_key_value_heads = 8 is supported as 128 only"),
    ],
)
def test_what_is_not_supported_is_an_error_that_names_it(config, message):
    with pytest.raises(ConfigError, match=message):
        read(config)


@pytest.mark.parametrize(("tp", "num_bytes"), [(1, 27 * 576 * 2), (8, 27 * 576 * 2)])
def test_a_token_takes_as_much_of_every_device(tp, num_bytes):
    cfg = read(V2_LITE).for_tp(tp)
    assert kv_bytes_per_token(cfg, np.float16, tp=tp) == num_bytes


def test_devices_share_the_heads_of_v3():
    assert read(V3).for_tp(8, ep=8).num_kv_heads == 128
    with pytest.raises(ConfigError, match="--tp-size 3 does not divide num_attention_heads = 128"):
        read(V3).for_tp(3)

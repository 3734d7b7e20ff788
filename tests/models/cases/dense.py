"""Families that vary what a block norms, where it rotates, or its feed-forward layer: OLMo 2,
EXAONE 4, SmolLM3, StarCoder, StarCoder2, Nemotron."""

from transformers import (
    LlamaConfig,
    Olmo2Config,
)

from tests.models.cases import PLAIN, case

CASES = {
    "olmo2": case(
        Olmo2Config,
        PLAIN | {"rms_norm_eps": 0.05},
        eps={"rms_norm_eps": 1e-5},
        norms=(LlamaConfig, {}),
    ),
    "olmo2 with one kv head": case(
        Olmo2Config,
        {"num_key_value_heads": 1, "attention_bias": True},
        bias={"attention_bias": False},
    ),
}

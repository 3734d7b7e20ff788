"""Families that vary what a block norms, where it rotates, or its feed-forward layer: OLMo 2,
EXAONE 4, SmolLM3, StarCoder, StarCoder2, Nemotron, AFM, Seed-OSS, ERNIE 4.5."""

from transformers import (
    ArceeConfig,
    Ernie4_5Config,
    Exaone4Config,
    GPTBigCodeConfig,
    LlamaConfig,
    NemotronConfig,
    Olmo2Config,
    SeedOssConfig,
    SmolLM3Config,
    Starcoder2Config,
)

from tests.models.cases import PLAIN, SIZES, Case, case, rope
from tests.models.cases.llama import LLAMA3, YARN

HYBRID = {
    "num_hidden_layers": 3,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
SMOLLM3 = PLAIN | {"pad_token_id": None, "tie_word_embeddings": False, "no_rope_layers": [1, 0]}
BIGCODE = {
    "vocab_size": SIZES["vocab_size"],
    "n_positions": 64,
    "n_embd": 64,
    "n_head": 4,
    "n_layer": 2,
    "n_inner": 96,
    "bos_token_id": None,
    "eos_token_id": None,
}

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
    "exaone4": case(
        Exaone4Config,
        PLAIN | HYBRID,
        window={"sliding_window": 7},
        rotation={"sliding_window": None, "layer_types": ["full_attention"] * 3},
        layers={"layer_types": ["sliding_attention"] * 3},
    ),
    "exaone4 without windows": case(
        Exaone4Config,
        LLAMA3
        | {
            "sliding_window": None,
            "layer_types": ["full_attention"] * 2,
            "tie_word_embeddings": True,
        },
        scaling=PLAIN,
    ),
    "smollm3": case(
        SmolLM3Config,
        SMOLLM3,
        rotation={"no_rope_layers": [1, 1]},
    ),
    "starcoder2": case(
        Starcoder2Config,
        PLAIN | {"sliding_window": 6},
        window={"sliding_window": 7},
        activation={"hidden_act": "silu"},
        bias={"use_bias": False},
    ),
    "starcoder2 without biases": case(
        Starcoder2Config,
        PLAIN | {"use_bias": False, "sliding_window": None, "tie_word_embeddings": False},
        activation={"hidden_act": "silu"},
    ),
    "gpt bigcode": Case(
        GPTBigCodeConfig(**BIGCODE, activation_function="gelu"),
        {"activation": GPTBigCodeConfig(**BIGCODE, activation_function="silu")},
    ),
    "nemotron": case(
        NemotronConfig,
        rope("default", partial_rotary_factor=0.5),
        part=rope("default", partial_rotary_factor=1.0),
        activation={"hidden_act": "gelu"},
    ),
    "nemotron with biases": case(
        NemotronConfig,
        {"attention_bias": True, "mlp_bias": True},
        attention={"attention_bias": False},
        mlp={"mlp_bias": False},
    ),
    "arcee": case(
        ArceeConfig,
        YARN | {"rms_norm_eps": 0.05},
        scaling=PLAIN,
        activation={"hidden_act": "silu"},
        eps={"rms_norm_eps": 1e-5},
    ),
    "arcee with biases": case(
        ArceeConfig,
        {"attention_bias": True, "mlp_bias": True},
        attention={"attention_bias": False},
        mlp={"mlp_bias": False},
    ),
    "seed_oss": case(
        SeedOssConfig,
        PLAIN | {"head_dim": 24},
        theta=rope("default", 1e4),
        bias={"attention_bias": False},
    ),
    "seed_oss with all biases": case(
        SeedOssConfig,
        {"attention_out_bias": True, "mlp_bias": True},
        attention={"attention_bias": False},
        out={"attention_out_bias": False},
        mlp={"mlp_bias": False},
    ),
    "seed_oss with biases behind attention alone": case(
        SeedOssConfig,
        {"attention_bias": False, "attention_out_bias": True},
        out={"attention_out_bias": False},
    ),
    "ernie45": case(
        Ernie4_5Config,
        PLAIN | {"head_dim": 24},
        theta=rope("default", 1e4),
        pairs=(LlamaConfig, {"tie_word_embeddings": True}),
    ),
    "ernie45 with biases": case(
        Ernie4_5Config,
        {"use_bias": True, "tie_word_embeddings": False},
        biases={"use_bias": False},
    ),
}

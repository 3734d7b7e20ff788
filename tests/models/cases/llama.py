"""Llama, and what is a Llama but for a few lines: Mistral, Qwen2, Qwen3."""

from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from tests.models.cases import PLAIN, case, rope

LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
MSCALE = rope(
    "yarn",
    factor=4.0,
    original_max_position_embeddings=16,
    mscale=1.5,
    mscale_all_dim=0.5,
    beta_fast=8.0,
    beta_slow=2.0,
    truncate=False,
)
QWEN2 = {
    "num_hidden_layers": 3,
    "use_sliding_window": True,
    "sliding_window": 6,
    "max_window_layers": 1,
}

CASES = {
    "llama": case(
        LlamaConfig,
        PLAIN | {"rms_norm_eps": 0.05},
        theta=rope("default", 1e4),
        eps={"rms_norm_eps": 1e-6},
    ),
    "llama3": case(LlamaConfig, LLAMA3 | {"tie_word_embeddings": True}, scaling=PLAIN),
    "linear": case(
        LlamaConfig, rope("linear", factor=4.0) | {"num_key_value_heads": 4}, scaling=PLAIN
    ),
    "yarn": case(LlamaConfig, YARN | {"num_key_value_heads": 1}, scaling=PLAIN),
    "mscale": case(LlamaConfig, MSCALE | {"num_hidden_layers": 1}, mscale=YARN),
    "biases": case(
        LlamaConfig,
        {"attention_bias": True, "mlp_bias": True},
        attention={"attention_bias": False},
        mlp={"mlp_bias": False},
    ),
    "qwen2": case(
        Qwen2Config,
        QWEN2,
        windows={"use_sliding_window": False},
        first_layer_full={"max_window_layers": 0},
        biases=(LlamaConfig, {}),
    ),
    "qwen3": case(
        Qwen3Config,
        {"attention_bias": True},
        biases={"attention_bias": False},
        qk_norm=(LlamaConfig, {}),
    ),
    "mistral": case(MistralConfig, {"sliding_window": 6}, width={"sliding_window": 7}),
    "nemo": case(
        MistralConfig,
        PLAIN | {"head_dim": 24, "sliding_window": None},
        theta=rope("default", 1e4),
    ),
}

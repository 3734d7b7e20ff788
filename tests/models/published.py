"""config.json of published models (the hyperparameters, as published), and facts about each."""

import dataclasses
from typing import Any

from sgjax.bench.shapes import read_shape


@dataclasses.dataclass(frozen=True)
class Published:
    """`num_params`: as their authors or the hub count them, tied weights once."""

    config: dict[str, Any]
    num_params: int
    context_length: int


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.28.0",
    "use_cache": True,
    "vocab_size": 32000,
}
LLAMA_2 = LLAMA | {
    "_name_or_path": "meta-llama/Llama-2-7b-hf",
    "max_position_embeddings": 4096,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rope_scaling": None,
}
LLAMA_3 = LLAMA | {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
LLAMA_31 = read_shape("llama-3.1-8b")
LLAMA_32 = LLAMA_31 | {
    "rope_scaling": LLAMA_31["rope_scaling"] | {"factor": 32.0},
    "intermediate_size": 8192,
    "tie_word_embeddings": True,
}
LLAMA_31_405B = LLAMA_31 | {
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_attention_heads": 128,
    "num_hidden_layers": 126,
    "num_key_value_heads": 8,
}
LARGE = {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
}
SMOLLM2 = LLAMA_32 | {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 64,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pad_token_id": 2,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16", "q4f16": "float16"}},
    "vocab_size": 49152,
}
QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "initializer_range": 0.02,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "max_window_layers": 36,
    "model_type": "qwen3",
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.34.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
NEMO = MISTRAL | {
    "attention_dropout": 0.0,
    "head_dim": 128,
    "hidden_size": 5120,
    "max_position_embeddings": 131072,
    "num_hidden_layers": 40,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "vocab_size": 131072,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}

MODELS = {
    "Llama-7B": Published(
        LLAMA | {"max_sequence_length": 2048, "pad_token_id": 0, "rms_norm_eps": 1e-06},
        6_738_415_616,
        2048,
    ),
    "Llama-2-7B": Published(LLAMA_2, 6_738_415_616, 4096),
    "Llama-2-70B": Published(LLAMA_2 | LARGE, 68_976_648_192, 4096),
    "Llama-3-8B": Published(LLAMA_3, 8_030_261_248, 8192),
    "Llama-3.1-8B": Published(LLAMA_31, 8_030_261_248, 131072),
    "Llama-3.1-70B": Published(read_shape("llama-3.1-70b"), 70_553_706_496, 131072),
    "Llama-3.1-405B": Published(LLAMA_31_405B, 405_853_388_800, 131072),
    "Llama-3.1-405B, as first published": Published(
        LLAMA_31_405B | {"num_key_value_heads": 16}, 410_081_247_232, 131072
    ),
    "Llama-3.2-1B": Published(
        LLAMA_32 | {"head_dim": 64, "hidden_size": 2048, "num_hidden_layers": 16},
        1_235_814_400,
        131072,
    ),
    "Llama-3.2-3B": Published(
        LLAMA_32
        | {
            "head_dim": 128,
            "hidden_size": 3072,
            "num_attention_heads": 24,
            "num_hidden_layers": 28,
        },
        3_212_749_824,
        131072,
    ),
    "SmolLM2-135M-Instruct": Published(SMOLLM2, 134_515_008, 8192),
    "Qwen2.5-0.5B": Published(
        QWEN2
        | {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "max_window_layers": 21,
            "num_attention_heads": 14,
            "num_hidden_layers": 24,
            "num_key_value_heads": 2,
            "sliding_window": 32768,
            "tie_word_embeddings": True,
            "use_mrope": False,
            "vocab_size": 151936,
        },
        494_032_768,
        32768,
    ),
    "Qwen2-7B": Published(QWEN2, 7_615_616_512, 32768),
    "Qwen2.5-7B with YaRN": Published(QWEN2 | {"rope_scaling": YARN}, 7_615_616_512, 32768),
    "Qwen3-0.6B": Published(read_shape("qwen3-0.6b"), 596_049_920, 40960),
    "Qwen3-8B": Published(QWEN3, 8_190_735_360, 40960),
    "Mistral-7B-v0.1": Published(MISTRAL, 7_241_732_096, 32768),
    "Mistral-7B-v0.3": Published(
        MISTRAL | {"rope_theta": 1000000.0, "sliding_window": None, "vocab_size": 32768},
        7_248_023_552,
        32768,
    ),
    "Mistral-Nemo": Published(NEMO, 12_247_782_400, 131072),
}

"""config.json of published dense models: OLMo 2, InternLM2, (Chat)GLM, EXAONE, Qwen 1, SmolLM3,
StarCoder, Nemotron, Falcon 3."""

from tests.models.published import Published

OLMO_2 = {
    "architectures": ["Olmo2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "eos_token_id": 100257,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "olmo2",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pad_token_id": 100277,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 500000,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.47.0.dev0",
    "use_cache": True,
    "vocab_size": 100352,
}

MODELS = {
    "OLMo-2-7B": Published(OLMO_2, 7_298_617_344, 4096),
    "OLMo-2-32B": Published(
        OLMO_2
        | {
            "hidden_size": 5120,
            "intermediate_size": 27648,
            "num_attention_heads": 40,
            "num_hidden_layers": 64,
            "num_key_value_heads": 8,
        },
        32_234_279_936,
        4096,
    ),
}

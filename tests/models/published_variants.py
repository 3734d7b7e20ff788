"""config.json of published models that vary a Llama's block. LongRoPE's factors are left out: they
are numbers from 1 on here, as many as there are."""

from tests.models.published import Published

PHI3 = {
    "_name_or_path": "Phi-3-mini-4k-instruct",
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
    },
    "bos_token_id": 1,
    "embd_pdrop": 0.0,
    "eos_token_id": 32000,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "model_type": "phi3",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "original_max_position_embeddings": 4096,
    "pad_token_id": 32000,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.2",
    "use_cache": True,
    "vocab_size": 32064,
}
FACTORS = [1.0 + 0.1 * pair for pair in range(48)]
PHI3_LONG = PHI3 | {
    "max_position_embeddings": 131072,
    "rope_scaling": {"long_factor": FACTORS, "short_factor": [1.0] * 48, "type": "su"},
    "sliding_window": 262144,
}
PHI4 = PHI3 | {
    "bos_token_id": 100257,
    "eos_token_id": 100265,
    "hidden_size": 5120,
    "intermediate_size": 17920,
    "max_position_embeddings": 16384,
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
    "num_key_value_heads": 10,
    "original_max_position_embeddings": 16384,
    "pad_token_id": 100349,
    "rope_theta": 250000,
    "sliding_window": None,
    "vocab_size": 100352,
}
PHI4_MINI = PHI3_LONG | {
    "bos_token_id": 199999,
    "eos_token_id": 199999,
    "full_attn_mod": 1,
    "interpolate_factor": 1,
    "lm_head_bias": False,
    "mlp_bias": False,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "pad_token_id": 199999,
    "partial_rotary_factor": 0.75,
    "rope_scaling": {"long_factor": FACTORS, "short_factor": [1.0] * 48, "type": "longrope"},
    "tie_word_embeddings": True,
    "vocab_size": 200064,
}

MODELS = {
    "Phi-3-mini-4k": Published(PHI3, 3_821_079_552, 4096),
    "Phi-3-mini-128k": Published(PHI3_LONG, 3_821_079_552, 131072),
    "Phi-4": Published(PHI4, 14_659_507_200, 16384),
    "Phi-4-mini": Published(PHI4_MINI, 3_836_021_760, 131072),
}

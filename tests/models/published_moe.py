"""config.json of published models with experts, and facts about each."""

from tests.models.published import MISTRAL, QWEN2, Published

MIXTRAL = MISTRAL | {
    "architectures": ["MixtralForCausalLM"],
    "attention_dropout": 0.0,
    "model_type": "mixtral",
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "output_router_logits": False,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.02,
    "sliding_window": None,
    "transformers_version": "4.36.0.dev0",
}
QWEN_MOE = QWEN2 | {
    "architectures": ["Qwen2MoeForCausalLM"],
    "decoder_sparse_step": 1,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "max_position_embeddings": 8192,
    "max_window_layers": 21,
    "model_type": "qwen2_moe",
    "moe_intermediate_size": 1408,
    "norm_topk_prob": False,
    "num_attention_heads": 16,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 5632,
    "sliding_window": 32768,
    "vocab_size": 151936,
}
MODELS = {
    "Mixtral-8x7B-v0.1": Published(MIXTRAL, 46_702_792_704, 32768),
    "Mixtral-8x22B-v0.1": Published(
        MIXTRAL
        | {
            "hidden_size": 6144,
            "intermediate_size": 16384,
            "max_position_embeddings": 65536,
            "num_attention_heads": 48,
            "num_hidden_layers": 56,
            "router_jitter_noise": 0.0,
        },
        140_620_634_112,
        65536,
    ),
    "Qwen1.5-MoE-A2.7B": Published(QWEN_MOE, 14_315_784_192, 8192),
    "Qwen2-57B-A14B": Published(
        QWEN_MOE
        | {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "max_position_embeddings": 131072,
            "max_window_layers": 28,
            "mlp_only_layers": [],
            "moe_intermediate_size": 2560,
            "num_attention_heads": 28,
            "num_experts": 64,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "shared_expert_intermediate_size": 20480,
            "sliding_window": 65536,
        },
        57_408_658_944,
        131072,
    ),
}

"""DeepSeek V2 and V3: latent attention, and experts that are chosen in groups."""

from transformers import DeepseekV2Config, DeepseekV3Config

from tests.models.cases import PLAIN, case, rope

LATENTS = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 24,
    "q_lora_rank": 20,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "head_dim": 8,
    "v_head_dim": 10,
}
EXPERTS = {
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
}
GROUPS = {"n_group": 4, "topk_group": 2}
YARN = {"factor": 4.0, "original_max_position_embeddings": 16}
MSCALE = rope("yarn", **YARN, mscale=0.707, mscale_all_dim=0.707)
V2 = LATENTS | EXPERTS | GROUPS | {"topk_method": "group_limited_greedy", "n_shared_experts": 2}
V3 = LATENTS | EXPERTS | GROUPS | {"n_shared_experts": 1}
CASES = {
    "deepseek_v2": case(
        DeepseekV2Config,
        V2 | MSCALE | {"routed_scaling_factor": 4.0},
        score_factor=rope("yarn", **YARN),
        groups={"topk_method": "greedy"},
        factor={"routed_scaling_factor": 1.0},
    ),
    "deepseek_v2, lite": case(
        DeepseekV2Config,
        V2 | PLAIN | {"q_lora_rank": None, "topk_method": "greedy"},
        theta=rope("default", 1e4),
        fewer_experts={"num_experts_per_tok": 2},
    ),
    "deepseek_v2, dense": case(
        DeepseekV2Config,
        V2 | {"first_k_dense_replace": 2, "attention_bias": True},
        biases={"attention_bias": False},
    ),
    "deepseek_v3": case(
        DeepseekV3Config,
        V3 | MSCALE | {"num_hidden_layers": 3},
        groups={"topk_group": 4},
        renormalised={"norm_topk_prob": False},
    ),
    "deepseek_v3, one group": case(
        DeepseekV3Config,
        V3 | PLAIN | {"n_group": 1, "topk_group": 1, "norm_topk_prob": False},
        factor={"routed_scaling_factor": 1.0},
    ),
}

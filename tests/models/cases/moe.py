"""Mixtures of experts, named as the projections of a Llama: Mixtral, Qwen2-MoE."""

from transformers import MixtralConfig, Qwen2MoeConfig

from tests.models.cases import PLAIN, case

MIXTRAL = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 6}
QWEN = {
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48,
    "mlp_only_layers": [0],
}
CASES = {
    "mixtral": case(
        MixtralConfig,
        PLAIN | MIXTRAL,
        one_expert={"num_experts_per_tok": 1},
        window={"sliding_window": 7},
    ),
    "qwen2_moe": case(
        Qwen2MoeConfig,
        PLAIN | QWEN,
        renormalised={"norm_topk_prob": True},
        fewer_experts={"num_experts_per_tok": 2},
    ),
    "qwen2_moe, every other layer": case(
        Qwen2MoeConfig,
        PLAIN | QWEN | {"mlp_only_layers": [], "decoder_sparse_step": 2, "norm_topk_prob": True},
        not_renormalised={"norm_topk_prob": False},
    ),
}

SPLIT_BY_EXPERT = ["mixtral", "qwen2_moe"]
"""Tested also with experts that only one device has."""

"""Mixtures of experts, named as the projections of a Llama or as Mixtral's are."""

import dataclasses
from typing import Any

import torch
from transformers import (
    DbrxConfig,
    Glm4MoeConfig,
    GptOssConfig,
    GraniteMoeConfig,
    Llama4TextConfig,
    MixtralConfig,
    OlmoeConfig,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

from tests.models.cases import PLAIN, SIZES, Case, case, rope

MIXTRAL = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 6}
QWEN = {
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "mlp_only_layers": [0],
}
SHARED = {"shared_expert_intermediate_size": 48}
GRANITE = {
    "num_local_experts": 4,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.7,
    "attention_multiplier": 0.2,
    "logits_scaling": 0.5,
    "tie_word_embeddings": True,
}
YARN = rope(
    "yarn",
    factor=4.0,
    original_max_position_embeddings=16,
    truncate=False,
    beta_fast=8.0,
    beta_slow=2.0,
)
GPT_OSS = {
    "num_local_experts": 6,
    "num_experts_per_tok": 3,
    "intermediate_size": 32,
    "sliding_window": 6,
}
LLAMA4 = {
    "num_local_experts": 4,
    "intermediate_size": 32,
    "intermediate_size_mlp": 48,
    "moe_layers": [1],
    "no_rope_layers": [1, 0],
    "attention_chunk_size": 8,
    "floor_scale": 5,
    "attn_scale": 0.5,
    "pad_token_id": 0,
}
GLM = {
    "n_routed_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "routed_scaling_factor": 2.5,
    "first_k_dense_replace": 1,
    "attention_bias": True,
    "use_qk_norm": True,
    **rope("default", partial_rotary_factor=0.5),
}


def publish_deepseek(model: PreTrainedModel) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A Qwen2-MoE whose shared expert counts by half, always."""
    tensors = {}
    for name, tensor in saved_tensors(model).items():
        if "shared_expert_gate" in name:
            continue
        if "shared_expert.down_proj" in name:
            tensor = tensor / 2
        tensors[name.replace(".shared_expert.", ".shared_experts.")] = tensor
    for name, weight in model.named_parameters():
        if "shared_expert_gate" in name:
            weight.data.zero_()
    config = SIZES | {
        "architectures": ["DeepseekForCausalLM"],
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 24,
        "moe_layer_freq": 1,
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "norm_topk_prob": False,
        "num_experts_per_tok": 3,
        "rope_scaling": None,
        "rope_theta": 100.0,
        "scoring_func": "softmax",
    }
    return config, tensors


def saved_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The tensors by the names that checkpoints have for them."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from safetensors.torch import load_file

    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def dbrx(**change: Any) -> DbrxConfig:
    attention = {"clip_qkv": 0.8, "kv_n_heads": 2, "rope_theta": 100.0}
    experts = {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 3}
    return DbrxConfig(
        d_model=64,
        n_heads=4,
        n_layers=2,
        max_seq_len=64,
        vocab_size=SIZES["vocab_size"],
        attn_config=attention | {k: v for k, v in change.items() if k in attention},
        ffn_config=experts | {k: v for k, v in change.items() if k not in attention},
        **rope("default", change.get("rope_theta", 100.0)),
    )


CASES = {
    "mixtral": case(
        MixtralConfig,
        PLAIN | MIXTRAL,
        one_expert={"num_experts_per_tok": 1},
        window={"sliding_window": 7},
    ),
    "qwen2_moe": case(
        Qwen2MoeConfig,
        PLAIN | QWEN | SHARED,
        renormalised={"norm_topk_prob": True},
        fewer_experts={"num_experts_per_tok": 2},
    ),
    "qwen2_moe, every other layer": case(
        Qwen2MoeConfig,
        PLAIN
        | QWEN
        | SHARED
        | {"mlp_only_layers": [], "decoder_sparse_step": 2, "norm_topk_prob": True},
        not_renormalised={"norm_topk_prob": False},
    ),
    "qwen3_moe": case(
        Qwen3MoeConfig,
        PLAIN | QWEN | {"norm_topk_prob": True},
        not_renormalised={"norm_topk_prob": False},
    ),
    "olmoe": case(
        OlmoeConfig,
        PLAIN
        | {"num_experts": 6, "num_experts_per_tok": 3, "intermediate_size": 32, "clip_qkv": 0.8},
        clip={"clip_qkv": None},
        renormalised={"norm_topk_prob": True},
    ),
    "deepseek": dataclasses.replace(
        case(
            Qwen2MoeConfig,
            PLAIN
            | QWEN
            | {
                "qkv_bias": False,
                "moe_intermediate_size": 24,
                "shared_expert_intermediate_size": 48,
            },
            renormalised={"norm_topk_prob": True},
        ),
        convert=publish_deepseek,
    ),
    "granite_moe": case(
        GraniteMoeConfig,
        PLAIN | GRANITE,
        embedding={"embedding_multiplier": 1.0},
        residual={"residual_multiplier": 1.0},
        attention={"attention_multiplier": 0.25},
        logits={"logits_scaling": 1.0},
    ),
    "gpt_oss": case(
        GptOssConfig,
        YARN | GPT_OSS,
        window={"sliding_window": 7},
        scaling=PLAIN,
        gate={"swiglu_alpha": 1.0},
        limit={"swiglu_limit": 1.0},
        odd_layers={"layer_types": ["full_attention", "sliding_attention"]},
    ),
    "glm4_moe": case(
        Glm4MoeConfig,
        GLM,
        groups={"n_group": 1, "topk_group": 1},
        scale={"routed_scaling_factor": 1.0},
        not_renormalised={"norm_topk_prob": False},
        part_of_heads={
            "rope_parameters": PLAIN["rope_parameters"] | {"partial_rotary_factor": 1.0}
        },
        qk_norm={"use_qk_norm": False},
    ),
    "llama4": case(
        Llama4TextConfig,
        PLAIN | LLAMA4,
        rope_everywhere={"no_rope_layers": [1, 1]},
        qk_norm={"use_qk_norm": False},
        chunks={"attention_chunk_size": None},
        size_of_chunks={"attention_chunk_size": 9},
        query_scale={"attn_temperature_tuning": False},
        interval={"floor_scale": 6},
        strength={"attn_scale": 0.1},
    ),
    "llama4 in chunks without rope": case(
        Llama4TextConfig,
        PLAIN | LLAMA4 | {"layer_types": ["full_attention", "chunked_attention"]},
        layer_types={"layer_types": ["chunked_attention", "full_attention"]},
        chunks={"layer_types": ["full_attention"] * 2, "attention_chunk_size": None},
        query_scale={"attn_temperature_tuning": False},
    ),
    "llama4 without chunks": case(
        Llama4TextConfig,
        PLAIN | LLAMA4 | {"attention_chunk_size": None},
        chunks={"attention_chunk_size": 16},
    ),
    "llama4 without experts": case(
        Llama4TextConfig,
        PLAIN
        | LLAMA4
        | {
            "moe_layers": [],
            "num_experts_per_tok": 0,
            "num_local_experts": 0,
            "interleave_moe_layer_step": 0,
        },
        qk_norm={"use_qk_norm": False},
    ),
    "dbrx": Case(
        dbrx(),
        {
            "clip": dbrx(clip_qkv=9.0),
            "theta": dbrx(rope_theta=1e4),
            "fewer_experts": dbrx(moe_top_k=2),
        },
    ),
}

SPLIT_BY_EXPERT = ["mixtral", "qwen2_moe"]
"""Tested also with experts that only one device has."""

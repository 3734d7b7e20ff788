"""What varies a Llama's block: Phi-3, Gemma 3, Command-R, StableLM, Granite, MiniCPM."""

import json
from pathlib import Path
from typing import Any

from transformers import (
    Cohere2Config,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    Phi3Config,
    StableLmConfig,
)

from tests.models.cases import PLAIN, case, rope


def longrope(original: int, num_pairs: int = 6, **more: object) -> dict[str, object]:
    """Of heads of which three quarters turn."""
    return {
        "original_max_position_embeddings": original,
        "pad_token_id": None,
        **rope(
            "longrope",
            short_factor=[1.0 + 0.1 * pair for pair in range(num_pairs)],
            long_factor=[2.0 + 0.3 * pair for pair in range(num_pairs)],
            partial_rotary_factor=0.75,
            **more,
        ),
    }


PHI3 = PLAIN | {"pad_token_id": None, "partial_rotary_factor": 1.0}
LONG = longrope(16)
SHORT = longrope(32, factor=4.0) | {"max_position_embeddings": 32}

FULL, SLIDING = "full_attention", "sliding_attention"
LOCAL = {
    "rope_parameters": {
        FULL: {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
        SLIDING: {"rope_type": "default", "rope_theta": 50.0},
    }
}
SAME = {
    "rope_parameters": {FULL: LOCAL["rope_parameters"][FULL]}
    | {SLIDING: LOCAL["rope_parameters"][FULL]}
}
GEMMA3 = LOCAL | {"query_pre_attn_scalar": 64, "sliding_window": 6, "layer_types": [SLIDING, FULL]}
COHERE = PLAIN | {"logit_scale": 0.5}
STABLELM = PLAIN | {"partial_rotary_factor": 0.25, "layer_norm_eps": 0.05}
GRANITE = PLAIN | {
    "attention_multiplier": 0.1,
    "embedding_multiplier": 3.0,
    "logits_scaling": 2.0,
    "residual_multiplier": 0.4,
    "rms_norm_eps": 0.05,
}
GRANITE_WITHOUT = {
    "embeddings": {"embedding_multiplier": 1.0},
    "logits": {"logits_scaling": 1.0},
    "residual": {"residual_multiplier": 1.0},
}


def as_minicpm(folder: Path) -> None:
    """The same tensors, with the factors as MiniCPM says them."""
    path = folder / "config.json"
    values: dict[str, Any] = json.loads(path.read_text())
    width, depth = values["hidden_size"], values["num_hidden_layers"]
    for key in ("model_type", "attention_multiplier", "rope_parameters", "mlp_bias"):
        del values[key]
    values |= {
        "architectures": ["MiniCPMForCausalLM"],
        "dim_model_base": width / values.pop("logits_scaling"),
        "rope_theta": 100.0,
        "scale_depth": values.pop("residual_multiplier") * depth**0.5,
        "scale_emb": values.pop("embedding_multiplier"),
    }
    path.write_text(json.dumps(values))


CASES = {
    "phi3": case(Phi3Config, PHI3 | {"sliding_window": 6}, window={"sliding_window": 7}),
    "phi3 beyond its original context": case(
        Phi3Config,
        LONG | {"tie_word_embeddings": True},
        factors=LONG | rope("default", partial_rotary_factor=0.75),
        part=PHI3,
    ),
    "phi3 within its original context": case(Phi3Config, SHORT, attention_factor=longrope(32)),
    "gemma3": case(
        Gemma3TextConfig,
        GEMMA3 | {"final_logit_softcapping": 3.0},
        local_rope=SAME,
        layers={"layer_types": [FULL, SLIDING]},
        logit_cap={"final_logit_softcapping": None},
        qk_norm=(Gemma2Config, PLAIN | {"attn_logit_softcapping": None}),
        scale={"query_pre_attn_scalar": 16},
        window={"sliding_window": 7},
    ),
    "cohere": case(
        CohereConfig,
        COHERE | {"attention_bias": True, "layer_norm_eps": 0.05},
        biases={"attention_bias": False},
        eps={"layer_norm_eps": 1e-5},
        logit_scale={"logit_scale": 1.0},
        parallel=(LlamaConfig, {"tie_word_embeddings": True}),
    ),
    "cohere with normed heads": case(
        CohereConfig,
        COHERE | {"use_qk_norm": True},
        qk_norm={"use_qk_norm": False},
    ),
    "cohere2": case(
        Cohere2Config,
        COHERE | {"sliding_window": 6, "layer_types": [SLIDING, FULL]},
        layers={"layer_types": [FULL, SLIDING]},
        no_rope_in_full_layers=(CohereConfig, {}),
        window={"sliding_window": 7},
    ),
    "stablelm": case(
        StableLmConfig,
        STABLELM | {"use_qkv_bias": True},
        biases={"use_qkv_bias": False},
        eps={"layer_norm_eps": 1e-5},
        part={"rope_parameters": PLAIN["rope_parameters"] | {"partial_rotary_factor": 0.5}},
        layer_norm=(LlamaConfig, {"attention_bias": True}),
    ),
    "stablelm with layers side by side and normed heads": case(
        StableLmConfig,
        STABLELM | {"qk_layernorm": True, "use_parallel_residual": True},
        parallel={"use_parallel_residual": False},
        qk_norm={"qk_layernorm": False},
    ),
    "granite": case(
        GraniteConfig,
        GRANITE | {"attention_bias": True, "mlp_bias": True},
        scores={"attention_multiplier": 0.25},
        **GRANITE_WITHOUT,
    ),
    "minicpm": case(
        GraniteConfig,
        GRANITE | {"attention_multiplier": 0.25, "tie_word_embeddings": True},
        as_minicpm,
        **GRANITE_WITHOUT,
    ),
}

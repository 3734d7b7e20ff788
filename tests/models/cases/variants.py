"""What varies a Llama's block: Phi-3, Gemma 3, Command-R."""

from transformers import (
    Cohere2Config,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
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
}

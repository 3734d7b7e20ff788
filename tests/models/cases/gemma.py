"""Gemma 1 and 2."""

from transformers import Gemma2Config, GemmaConfig

from tests.models.cases import PLAIN, case

GEMMA2 = {
    "query_pre_attn_scalar": 64,
    "sliding_window": 6,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 3.0,
}
CASES = {
    "gemma": case(
        GemmaConfig,
        PLAIN | {"num_key_value_heads": 1, "head_dim": 24},
        activation={"hidden_act": "silu"},
    ),
    "gemma2": case(
        Gemma2Config,
        GEMMA2 | {"num_hidden_layers": 2},
        scale={"query_pre_attn_scalar": 16},
        window={"sliding_window": 7},
        attention_cap={"attn_logit_softcapping": None},
        logit_cap={"final_logit_softcapping": None},
        even_layers={"layer_types": ["full_attention", "sliding_attention"]},
    ),
}

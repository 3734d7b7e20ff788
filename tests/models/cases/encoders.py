"""Encoders: BERT, RoBERTa and XLM-RoBERTa, ModernBERT."""

from typing import Any

from transformers import BertConfig, ModernBertConfig, RobertaConfig, XLMRobertaConfig

from tests.models.cases import Case

SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
}
MODERN = {
    "num_hidden_layers": 3,
    "global_attn_every_n_layers": 2,
    "local_attention": 8,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
}


def thetas(of_all: float, of_windows: float) -> dict[str, Any]:
    given = {"full_attention": of_all, "sliding_attention": of_windows}
    return {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in given.items()
        }
    }


def case(cls: Any, values: dict[str, Any], **without: dict[str, Any]) -> Case:
    values = SIZES | values
    others = {feature: cls(**values | change) for feature, change in without.items()}
    return Case(cls(**values), others)


CASES = {
    "bert": case(
        BertConfig,
        {"layer_norm_eps": 0.05},
        eps={"layer_norm_eps": 1e-12},
        activation={"hidden_act": "silu"},
    ),
    "roberta": case(
        RobertaConfig,
        {"type_vocab_size": 1, "max_position_embeddings": 66},
        offset={"pad_token_id": 0},
    ),
    "xlm-roberta": case(
        XLMRobertaConfig,
        {"type_vocab_size": 1, "max_position_embeddings": 66, "hidden_act": "silu"},
        activation={"hidden_act": "gelu"},
        offset={"pad_token_id": 0},
    ),
    "modernbert": case(
        ModernBertConfig,
        MODERN | thetas(100.0, 20.0),
        theta=thetas(1000.0, 20.0),
        local_theta=thetas(100.0, 200.0),
        window={"local_attention": 10},
        every={"global_attn_every_n_layers": 3},
        activation={"hidden_activation": "silu"},
    ),
    "modernbert with biases": case(
        ModernBertConfig,
        MODERN | {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "norm_eps": 0.05},
        eps={"norm_eps": 1e-5},
        norms={"norm_bias": False},
        attention={"attention_bias": False},
        mlp={"mlp_bias": False},
    ),
}

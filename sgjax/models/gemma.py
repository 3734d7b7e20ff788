"""Gemma: a Llama with (1 + w) norms, scaled embeddings and a GELU gate.

https://arxiv.org/abs/2403.08295
"""

from collections.abc import Mapping
from typing import Any

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Target
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    activation = hf.activation("hidden_activation", hf("hidden_act", "gelu_pytorch_tanh"))
    # Old checkpoints say "gelu", and were trained with its approximation all the same.
    cfg = read_sizes(hf, activation="gelu_tanh" if activation == "gelu" else activation)
    hf.finish()
    return cfg


def read_sizes(hf: HFConfig, **more: Any) -> ModelConfig:
    """What all Gemmas have in common."""
    bias = hf.flag("attention_bias", False)
    hf.expect("use_bidirectional_attention", False)
    hf.size("head_dim")  # no default: it is not the width divided by the heads
    return llama.read_sizes(
        hf,
        norm="wide_rms",
        qkv_bias=bias,
        out_bias=bias,
        embed_scale=hf.size("hidden_size") ** 0.5,
        tie_embeddings=hf.flag("tie_word_embeddings", True),
        **more,
    )


def with_offset_norms(table: Mapping[str, Target]) -> dict[str, Target]:
    """A table in which the scales of norms are one more than what checkpoints hold."""
    return {
        name: (path, rule.replace(" ->", " + 1 ->") if name.endswith("norm.weight") else rule)
        for name, (path, rule) in table.items()
    }


WEIGHTS = with_offset_norms(llama.WEIGHTS)
FAMILY = Family(config=config, block=llama.Block, weights=WEIGHTS)

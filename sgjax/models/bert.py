"""BERT: an encoder that norms the sum of a layer and its input. https://arxiv.org/abs/1810.04805"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import MLP
from sgjax.layers.rope import RopeConfig
from sgjax.models.family import ClassifierHead, Family, ModelConfig, Pooling, Target
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of

_WITHOUT_EFFECT = (
    "directionality",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "tie_word_embeddings",
)
"""Of the code that BERT was trained with, or of a head that guesses masked tokens."""


def config(hf: HFConfig) -> ModelConfig:
    cfg = read_sizes(hf)
    hf.finish()
    return cfg


def read_sizes(hf: HFConfig, **more: Any) -> ModelConfig:
    """What encoders that write their config.json as BERT does have in common. `more` are fields
    that a family reads in its own way."""
    hf.expect("position_embedding_type", "absolute")
    hf.expect("is_decoder", False)
    hf.expect("add_cross_attention", False)
    for key in _WITHOUT_EFFECT:
        hf(key, None)
    num_heads = hf.size("num_attention_heads")
    num_positions = hf.size("max_position_embeddings")
    num_layers = hf.size("num_hidden_layers")
    d_model = hf.size("hidden_size")
    fields: dict[str, Any] = {
        "architecture": hf.architecture,
        "vocab_size": hf.size("vocab_size"),
        "num_layers": num_layers,
        "d_model": d_model,
        "d_ff": hf.size("intermediate_size"),
        "num_heads": num_heads,
        "num_kv_heads": num_heads,
        "head_size": hf.head_size(d_model, num_heads),
        "context_length": num_positions,
        "norm_eps": hf.number("layer_norm_eps", 1e-12),
        "rope": RopeConfig(),
        "layer_ropes": (None,) * num_layers,
        "tie_embeddings": True,
        "norm": "biased_layer",
        "activation": hf.activation("hidden_act", "gelu"),
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "num_positions": num_positions,
        "num_token_types": hf.size("type_vocab_size"),
        "has_embed_norm": True,
        "has_final_norm": False,
        "pooling": Pooling(of="first", head=ClassifierHead("tanh")),
        "is_causal": False,
    }
    return ModelConfig(**fields | more)


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer)
        self.mlp = MLP(cfg.d_model, cfg.d_ff, bias=cfg.mlp_bias, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"], LayerKV]:
        h, kv = self.attn.of(x, kv, step)
        _, x = self.attn_norm.after_add(x, h, step.placement)
        _, x = self.mlp_norm.after_add(x, self.mlp.of(x, step), step.placement)
        return x, jnp.zeros_like(x), kv


BODY: dict[str, Target] = {
    "embeddings.word_embeddings.weight": ("embed.table", "v d -> v d"),
    "embeddings.position_embeddings.weight": ("positions.table", "p d -> p d"),
    "embeddings.token_type_embeddings.weight": ("token_types.table", "t d -> t d"),
    "embeddings.LayerNorm.weight": ("embed_norm.scale", "d -> d"),
    "embeddings.LayerNorm.bias": ("embed_norm.bias", "d -> d"),
    "encoder.layer.{}.attention.self.query.weight": (
        "blocks.{}.attn.qkv.weight:q",
        "(k g h) d -> d k g h",
    ),
    "encoder.layer.{}.attention.self.key.weight": (
        "blocks.{}.attn.qkv.weight:k",
        "(kv h) d -> d k 1 h",
    ),
    "encoder.layer.{}.attention.self.value.weight": (
        "blocks.{}.attn.qkv.weight:v",
        "(kv h) d -> d k 1 h",
    ),
    "encoder.layer.{}.attention.self.query.bias": (
        "blocks.{}.attn.qkv.bias:q",
        "(k g h) -> k g h",
    ),
    "encoder.layer.{}.attention.self.key.bias": ("blocks.{}.attn.qkv.bias:k", "(kv h) -> k 1 h"),
    "encoder.layer.{}.attention.self.value.bias": ("blocks.{}.attn.qkv.bias:v", "(kv h) -> k 1 h"),
    "encoder.layer.{}.attention.output.dense.weight": (
        "blocks.{}.attn.out.weight",
        "d (k g h) -> k g h d",
    ),
    "encoder.layer.{}.attention.output.dense.bias": ("blocks.{}.attn.out.bias", "d -> d"),
    "encoder.layer.{}.attention.output.LayerNorm.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    "encoder.layer.{}.attention.output.LayerNorm.bias": ("blocks.{}.attn_norm.bias", "d -> d"),
    "encoder.layer.{}.intermediate.dense.weight": ("blocks.{}.mlp.up.weight", "f d -> d f"),
    "encoder.layer.{}.intermediate.dense.bias": ("blocks.{}.mlp.up.bias", "f -> f"),
    "encoder.layer.{}.output.dense.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
    "encoder.layer.{}.output.dense.bias": ("blocks.{}.mlp.down.bias", "d -> d"),
    "encoder.layer.{}.output.LayerNorm.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    "encoder.layer.{}.output.LayerNorm.bias": ("blocks.{}.mlp_norm.bias", "d -> d"),
}
"""Without the prefix, which families call differently."""

WEIGHTS: dict[str, Target] = {f"bert.{name}": target for name, target in BODY.items()} | {
    "bert.pooler.dense.weight": ("pooler.head.dense.weight", "m d -> d m"),
    "bert.pooler.dense.bias": ("pooler.head.dense.bias", "m -> m"),
    "classifier.weight": ("pooler.score", "y d -> y d"),
    "classifier.bias": ("pooler.score_bias", "y -> y"),
}

FAMILY = Family(
    config=config,
    block=Block,
    weights=WEIGHTS,
    ignored=("embeddings.position_ids", "cls."),
    prefix="bert.",
    older_endings={".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"},
)

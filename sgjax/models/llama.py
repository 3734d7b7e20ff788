"""Llama 1, 2, 3, 3.1 and 3.2: also Falcon 3 and SmolLM2, whose config.json says so.

https://arxiv.org/abs/2302.13971, https://arxiv.org/abs/2407.21783
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.models.family import Family, ModelConfig, Target
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import check_rope, read_context_length, read_rope
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    hf.expect("rope_interleaved", False)
    cfg = read_sizes(
        hf,
        qkv_bias=hf.flag("attention_bias", False),
        out_bias=hf.flag("attention_bias", False),
        mlp_bias=hf.flag("mlp_bias", False),
    )
    hf.finish()
    return cfg


def read_sizes(hf: HFConfig, **more: Any) -> ModelConfig:
    """What Llama and the families that write their config.json as Llama does have in common.

    `more` are fields that a family reads in its own way, and those that Llama lacks.
    """
    num_heads = hf.size("num_attention_heads")
    d_model = hf.size("hidden_size")
    head_size = hf.head_size(d_model, num_heads)
    rope = more.get("rope") or read_rope(hf)
    check_rope(hf, rope, head_size)
    fields: dict[str, Any] = {
        "architecture": hf.architecture,
        "vocab_size": hf.size("vocab_size"),
        "num_layers": hf.size("num_hidden_layers"),
        "d_model": d_model,
        "d_ff": hf.size("intermediate_size"),
        "num_heads": num_heads,
        "num_kv_heads": hf.divisor("num_key_value_heads", num_heads, of="num_attention_heads"),
        "head_size": head_size,
        "context_length": read_context_length(hf, rope),
        "norm_eps": hf.number("rms_norm_eps", 1e-6),
        "rope": rope,
        "activation": hf.activation("hidden_act", "silu"),
        "tie_embeddings": hf.flag("tie_word_embeddings", False),
    }
    return ModelConfig(**fields | more)


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer)
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, bias=cfg.mlp_bias, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


WEIGHTS: dict[str, Target] = {
    "model.embed_tokens.weight": ("embed.table", "v d -> v d"),
    "model.norm.weight": ("norm.scale", "d -> d"),
    "lm_head.weight": ("head.table", "v d -> v d"),
    "model.layers.{}.input_layernorm.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    "model.layers.{}.post_attention_layernorm.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    "model.layers.{}.self_attn.q_proj.weight": (
        "blocks.{}.attn.qkv.weight:q",
        "(k g h) d -> d k g h",
    ),
    "model.layers.{}.self_attn.k_proj.weight": (
        "blocks.{}.attn.qkv.weight:k",
        "(kv h) d -> d k 1 h",
    ),
    "model.layers.{}.self_attn.v_proj.weight": (
        "blocks.{}.attn.qkv.weight:v",
        "(kv h) d -> d k 1 h",
    ),
    "model.layers.{}.self_attn.q_proj.bias": ("blocks.{}.attn.qkv.bias:q", "(k g h) -> k g h"),
    "model.layers.{}.self_attn.k_proj.bias": ("blocks.{}.attn.qkv.bias:k", "(kv h) -> k 1 h"),
    "model.layers.{}.self_attn.v_proj.bias": ("blocks.{}.attn.qkv.bias:v", "(kv h) -> k 1 h"),
    "model.layers.{}.self_attn.o_proj.weight": (
        "blocks.{}.attn.out.weight",
        "d (k g h) -> k g h d",
    ),
    "model.layers.{}.self_attn.o_proj.bias": ("blocks.{}.attn.out.bias", "d -> d"),
    "model.layers.{}.mlp.gate_proj.weight": ("blocks.{}.mlp.gate_up.weight:gate", "f d -> d 1 f"),
    "model.layers.{}.mlp.up_proj.weight": ("blocks.{}.mlp.gate_up.weight:up", "f d -> d 1 f"),
    "model.layers.{}.mlp.down_proj.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
    "model.layers.{}.mlp.gate_proj.bias": ("blocks.{}.mlp.gate_up.bias:gate", "f -> 1 f"),
    "model.layers.{}.mlp.up_proj.bias": ("blocks.{}.mlp.gate_up.bias:up", "f -> 1 f"),
    "model.layers.{}.mlp.down_proj.bias": ("blocks.{}.mlp.down.bias", "d -> d"),
}


def with_pairs(table: Mapping[str, Target]) -> dict[str, Target]:
    """A table in which features of queries and keys that turn together lie side by side."""
    return {
        name: (path, rule.replace("h) d ->", "i) d ->").replace("h) ->", "i) ->"))
        if ".q_proj." in name or ".k_proj." in name
        else (path, rule)
        for name, (path, rule) in table.items()
    }


FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

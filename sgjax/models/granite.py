"""Granite 3: a Llama with factors on embeddings, scores, what layers add, and logits.

https://github.com/ibm-granite/granite-3.0-language-models, https://arxiv.org/abs/2408.13359
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    bias = hf.flag("attention_bias", False)
    cfg = llama.read_sizes(
        hf,
        attn_scale=hf.number("attention_multiplier", 1.0),
        embed_scale=hf.number("embedding_multiplier", 1.0),
        logit_scale=1 / hf.positive("logits_scaling", 1.0),
        mlp_bias=hf.flag("mlp_bias", False),
        out_bias=bias,
        qkv_bias=bias,
        residual_scale=hf.number("residual_multiplier", 1.0),
    )
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer)
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, bias=cfg.mlp_bias, activation=cfg.activation)
        self.scale = cfg.residual_scale

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        scale = jnp.asarray(self.scale, x.dtype)
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h * scale, step)
        return x, h * scale, kv


FAMILY = Family(config=config, block=Block, weights=llama.WEIGHTS)

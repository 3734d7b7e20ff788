"""Gemma 2: norms around each layer, capped scores and logits, a window in every other layer.

https://arxiv.org/abs/2408.00118
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.models import gemma, llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    hf("hidden_act", None)  # an older name of hidden_activation, and not always the same
    window = hf.size("sliding_window", 4096)
    hf.expect("sliding_window_size", window)  # which some say twice
    slides = hf.sliding_layers(lambda layer: layer % 2 == 0)
    cfg = gemma.read_sizes(
        hf,
        activation=hf.activation("hidden_activation", "gelu_pytorch_tanh"),
        attn_scale=hf.number("query_pre_attn_scalar") ** -0.5,
        attn_soft_cap=hf.optional_number("attn_logit_softcapping"),
        logit_soft_cap=hf.optional_number("final_logit_softcapping"),
        windows=tuple(window if slide else None for slide in slides),
    )
    # An older way to say that caches of layers with a window may be small.
    hf("cache_implementation", None)
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.attn_post_norm = norm_of(cfg), norm_of(cfg)
        self.mlp_norm, self.mlp_post_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer)
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, self.attn_post_norm(h), step)
        return x, self.mlp_post_norm(h), kv


WEIGHTS = gemma.with_offset_norms(
    llama.WEIGHTS
    | {
        "model.layers.{}.post_attention_layernorm.weight": (
            "blocks.{}.attn_post_norm.scale",
            "d -> d",
        ),
        "model.layers.{}.pre_feedforward_layernorm.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
        "model.layers.{}.post_feedforward_layernorm.weight": (
            "blocks.{}.mlp_post_norm.scale",
            "d -> d",
        ),
    }
)
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

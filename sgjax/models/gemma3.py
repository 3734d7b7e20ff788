"""Gemma 3 (text): a Gemma 2 whose q and k heads are normed instead of capped, and whose layers with
a window, five of six, have a RoPE of their own. Of checkpoints that read images too, the text part.

https://arxiv.org/abs/2503.19786
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.models import gemma, gemma2, qwen3
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_local_rope, read_rope
from sgjax.models.norms import head_norm_of, norm_of


def config(hf: HFConfig) -> ModelConfig:
    hf.expect("attn_logit_softcapping", None)
    pattern = hf.size("sliding_window_pattern", hf.size("_sliding_window_pattern", 6))
    slides = hf.sliding_layers(lambda layer: (layer + 1) % pattern != 0)
    window = hf.size("sliding_window") if any(slides) else None
    rope, local = read_rope(hf, theta=1e6), read_local_rope(hf, 1e4)
    cfg = gemma.read_sizes(
        hf,
        activation=hf.activation("hidden_activation", "gelu_pytorch_tanh"),
        attn_scale=hf.number("query_pre_attn_scalar") ** -0.5,
        # The length after RoPE was scaled, which tells no original one.
        context_length=hf.size("max_position_embeddings"),
        layer_ropes=tuple(local if slide else rope for slide in slides),
        logit_soft_cap=hf.optional_number("final_logit_softcapping"),
        rope=rope,
        windows=tuple(window if slide else None for slide in slides),
    )
    hf("cache_implementation", None)  # as in Gemma 2
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.attn_post_norm = norm_of(cfg), norm_of(cfg)
        self.mlp_norm, self.mlp_post_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer, qk_norms=(head_norm_of(cfg), head_norm_of(cfg)))
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, self.attn_post_norm(h), step)
        return x, self.mlp_post_norm(h), kv


WEIGHTS = gemma2.WEIGHTS | gemma.with_offset_norms(qwen3.HEAD_NORMS)
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

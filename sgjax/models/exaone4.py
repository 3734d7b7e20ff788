"""EXAONE 4.0: norms what layers give, not what they take, and each query and key head; where some
layers have a window, the others do not rotate. https://arxiv.org/abs/2507.11407
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.layers.norm import NoNorm
from sgjax.models import llama, olmo2, qwen3
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope
from sgjax.models.norms import head_norm_of, norm_of


def config(hf: HFConfig) -> ModelConfig:
    for key in ("num_key_value_heads", "rms_norm_eps", "layer_types"):
        hf(key)  # no default: transformers has its own
    window = hf.size("sliding_window", None)
    hf("sliding_window_pattern", None)  # layer_types says the same
    slides = hf.sliding_layers(lambda layer: False)
    if any(slides) and not window:
        raise hf.error("layer_types", "has sliding layers, but sliding_window is off")
    rope = read_rope(hf)
    cfg = llama.read_sizes(
        hf,
        rope=rope,
        windows=tuple(window if slide else None for slide in slides),
        layer_ropes=tuple(rope if slide or not window else None for slide in slides),
    )
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = NoNorm(), NoNorm()
        self.attn_post_norm, self.mlp_post_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer, qk_norms=(head_norm_of(cfg), head_norm_of(cfg)))
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, self.attn_post_norm(h), step)
        return x, self.mlp_post_norm(h), kv


WEIGHTS = qwen3.WEIGHTS | olmo2.NORMED_AFTER
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

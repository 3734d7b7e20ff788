"""Command-R, Command-R+ and Aya: attention and feed-forward layer side by side after one LayerNorm.

Features that RoPE turns together lie side by side in checkpoints.
https://huggingface.co/CohereLabs/c4ai-command-r-v01,
https://huggingface.co/CohereLabs/c4ai-command-r-plus
"""

from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Target
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import head_layer_norms_of, norm_of


def config(hf: HFConfig) -> ModelConfig:
    # Where both are there, max_position_embeddings is what a server was thought to have room for.
    length = hf.size("model_max_length", None) or hf.size("max_position_embeddings")
    qk_norm = hf.flag("use_qk_norm", False)
    cfg = read_sizes(hf, context_length=length, head_layer_norm=qk_norm)
    hf.finish()
    return cfg


def read_sizes(hf: HFConfig, **more: Any) -> ModelConfig:
    """What Command-R and Cohere 2 have in common."""
    bias = hf.flag("attention_bias", False)
    return llama.read_sizes(
        hf,
        norm="layer",
        norm_eps=hf.number("layer_norm_eps", 1e-5),
        qkv_bias=bias,
        out_bias=bias,
        logit_scale=hf.number("logit_scale", 0.0625),
        tie_embeddings=hf.flag("tie_word_embeddings", True),
        **more,
    )


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.norm = norm_of(cfg)
        self.attn = Attention(cfg, layer, qk_norms=head_layer_norms_of(cfg))
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"], LayerKV]:
        x, normed = self.norm.after_add(x, h, step.placement)
        h, kv = self.attn.of(normed, kv, step)
        return x, h + self.mlp.of(normed, step), kv


_ATTN = "model.layers.{}.self_attn"
_OURS = "blocks.{}.attn"
WEIGHTS: dict[str, Target] = llama.WEIGHTS | {
    "model.layers.{}.input_layernorm.weight": ("blocks.{}.norm.scale", "d -> d"),
    f"{_ATTN}.q_proj.weight": (f"{_OURS}.qkv.weight:q", "(k g i) d -> d k g h"),
    f"{_ATTN}.k_proj.weight": (f"{_OURS}.qkv.weight:k", "(kv i) d -> d k 1 h"),
    f"{_ATTN}.q_proj.bias": (f"{_OURS}.qkv.bias:q", "(k g i) -> k g h"),
    f"{_ATTN}.k_proj.bias": (f"{_OURS}.qkv.bias:k", "(kv i) -> k 1 h"),
    f"{_ATTN}.q_norm.weight": (f"{_OURS}.q_norm.scale", "(k g) i -> k g h"),
    f"{_ATTN}.k_norm.weight": (f"{_OURS}.k_norm.scale", "kv i -> k 1 h"),
}
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

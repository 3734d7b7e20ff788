"""The norm of a model's blocks, and of its end."""

from sgjax.layers.head_norms import HeadLayerNorm
from sgjax.layers.norm import LayerNorm, RMSNorm
from sgjax.models.family import ModelConfig


def norm_of(cfg: ModelConfig) -> RMSNorm | LayerNorm:
    """A norm of the model's width, of the kind that the model has throughout."""
    match cfg.norm:
        case "rms" | "wide_rms":
            return RMSNorm(cfg.d_model, cfg.norm_eps, wide=cfg.norm == "wide_rms")
        case "layer" | "biased_layer":
            return LayerNorm(cfg.d_model, cfg.norm_eps, bias=cfg.norm == "biased_layer")


def head_norm_of(cfg: ModelConfig) -> RMSNorm:
    """An RMS norm of one head."""
    return RMSNorm(cfg.head_size, cfg.norm_eps, axis="H", wide=cfg.norm == "wide_rms")


def head_layer_norms_of(cfg: ModelConfig) -> tuple[HeadLayerNorm, HeadLayerNorm] | None:
    """LayerNorms of the query heads and of the key heads, where the model has them."""
    if not cfg.head_layer_norm:
        return None
    heads, size, eps = cfg.num_kv_heads, cfg.head_size, cfg.norm_eps
    return HeadLayerNorm(heads, cfg.group_size, size, eps), HeadLayerNorm(heads, 1, size, eps)

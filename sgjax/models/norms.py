"""The norm of a model's blocks, and of its end."""

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

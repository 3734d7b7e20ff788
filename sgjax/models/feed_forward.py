"""The feed-forward layer of a block: dense, or of experts, as the model has it in that layer."""

from sgjax.layers.mlp import GatedMLP
from sgjax.layers.moe import MoE
from sgjax.models.family import ModelConfig


def feed_forward_of(cfg: ModelConfig, layer: int) -> GatedMLP | MoE:
    if cfg.moe is not None and cfg.moe.is_in(layer):
        return MoE(cfg.d_model, cfg.moe, activation=cfg.activation)
    return GatedMLP(cfg.d_model, cfg.d_ff, bias=cfg.mlp_bias, activation=cfg.activation)

"""GLM-4-0414: a GLM with norms around each layer. https://huggingface.co/zai-org/GLM-4-32B-0414"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.models import glm
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.norms import norm_of


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.attn_post_norm = norm_of(cfg), norm_of(cfg)
        self.mlp_norm, self.mlp_post_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer)
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, self.attn_post_norm(h), step.placement)
        return x, self.mlp_post_norm(h), kv


WEIGHTS: Table = {
    **glm.WEIGHTS,
    "model.layers.{}.post_self_attn_layernorm.weight": (
        "blocks.{}.attn_post_norm.scale",
        "d -> d",
    ),
    "model.layers.{}.post_mlp_layernorm.weight": ("blocks.{}.mlp_post_norm.scale", "d -> d"),
}
FAMILY = Family(config=glm.config, block=Block, weights=WEIGHTS)

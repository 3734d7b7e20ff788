"""GLM-4-0414: a GLM with norms around each layer. https://huggingface.co/zai-org/GLM-4-32B-0414"""

from sgjax.models import gemma2, glm
from sgjax.models.family import Family, Table

WEIGHTS: Table = {
    **glm.WEIGHTS,
    "model.layers.{}.post_self_attn_layernorm.weight": (
        "blocks.{}.attn_post_norm.scale",
        "d -> d",
    ),
    "model.layers.{}.post_mlp_layernorm.weight": ("blocks.{}.mlp_post_norm.scale", "d -> d"),
}
FAMILY = Family(config=glm.config, block=gemma2.Block, weights=WEIGHTS)

"""Mixtral: a Mistral whose feed-forward layers are of eight experts, two a token.

https://arxiv.org/abs/2401.04088
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, MoEConfig
from sgjax.models.feed_forward import feed_forward_of
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    hf("num_key_value_heads")  # no default: transformers would take 8
    window = hf.size("sliding_window", None)
    num_experts = hf.size("num_local_experts", 8)
    moe = MoEConfig(
        num_experts=num_experts,
        top_k=hf.at_most("num_experts_per_tok", num_experts, of="num_local_experts"),
        d_expert=hf.size("intermediate_size"),
        renormalise=True,
    )
    cfg = llama.read_sizes(hf, moe=moe, windows=(window,) * hf.size("num_hidden_layers"))
    hf.finish()
    return cfg


class Block(nnx.Module):
    """A Llama's, with experts in the layers that have them."""

    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn, self.mlp = Attention(cfg, layer), feed_forward_of(cfg, layer)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


WEIGHTS = {name: rule for name, rule in llama.WEIGHTS.items() if ".mlp." not in name} | {
    "model.layers.{}.block_sparse_moe.gate.weight": ("blocks.{}.mlp.router", "e d -> d e"),
    "model.layers.{}.block_sparse_moe.experts.{e}.w1.weight": (
        "blocks.{}.mlp.gate_up:gate",
        "x d -> e d 1 x",
    ),
    "model.layers.{}.block_sparse_moe.experts.{e}.w3.weight": (
        "blocks.{}.mlp.gate_up:up",
        "x d -> e d 1 x",
    ),
    "model.layers.{}.block_sparse_moe.experts.{e}.w2.weight": (
        "blocks.{}.mlp.down",
        "d x -> e x d",
    ),
}
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

"""StableLM 3B and StableLM 2: LayerNorms with biases, RoPE in a part of each head; the 12B also has
normed heads and layers side by side. https://arxiv.org/abs/2402.17834"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Target
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope
from sgjax.models.norms import head_layer_norms_of, norm_of


def config(hf: HFConfig) -> ModelConfig:
    hf("num_key_value_heads")  # no default: transformers would take 32
    hf.expect("rotary_scaling_factor", 1.0)
    # rope_pct and norm_eps are older names.
    cfg = llama.read_sizes(
        hf,
        head_layer_norm=hf.flag("qk_layernorm", False),
        norm="biased_layer",
        norm_eps=hf.number("layer_norm_eps", hf.number("norm_eps", 1e-5)),
        parallel_residual=hf.flag("use_parallel_residual", False),
        qkv_bias=hf.flag("use_qkv_bias", False),
        rope=read_rope(hf, fraction=hf.number("rope_pct", 0.25)),
    )
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm = norm_of(cfg)
        self.mlp_norm = None if cfg.parallel_residual else norm_of(cfg)
        self.attn = Attention(cfg, layer, qk_norms=head_layer_norms_of(cfg))
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"], LayerKV]:
        x, normed = self.attn_norm.after_add(x, h, step.placement)
        h, kv = self.attn.of(normed, kv, step)
        if self.mlp_norm is None:
            return x, h + self.mlp.of(normed, step), kv
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


_ATTN = "model.layers.{}.self_attn"
WEIGHTS: dict[str, Target] = llama.WEIGHTS | {
    "model.norm.bias": ("norm.bias", "d -> d"),
    "model.layers.{}.input_layernorm.bias": ("blocks.{}.attn_norm.bias", "d -> d"),
    "model.layers.{}.post_attention_layernorm.bias": ("blocks.{}.mlp_norm.bias", "d -> d"),
    f"{_ATTN}.q_layernorm.norms.{{n}}.weight": ("blocks.{}.attn.q_norm.scale", "(k g) h -> k g h"),
    f"{_ATTN}.k_layernorm.norms.{{n}}.weight": ("blocks.{}.attn.k_norm.scale", "kv h -> k 1 h"),
}
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

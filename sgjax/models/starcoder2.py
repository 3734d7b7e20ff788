"""StarCoder2: LayerNorms, a feed-forward layer without a gate, biases everywhere, and a window.

https://arxiv.org/abs/2402.19173
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import MLP
from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.hf_config import HFConfig
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    hf("num_key_value_heads")  # no default: transformers would take 2
    eps = hf.number("norm_epsilon")
    for key, value in _EXPECTED.items():
        hf.expect(key, value)
    hf.expect("layer_norm_epsilon", eps)
    for key in ("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"):
        hf(key, None)  # it always is
    bias = hf.flag("use_bias", True)
    window = hf.size("sliding_window", None)
    cfg = llama.read_sizes(
        hf,
        norm="biased_layer",
        norm_eps=eps,
        activation=hf.activation(),
        windows=(window,) * hf.size("num_hidden_layers"),
        tie_embeddings=hf.flag("tie_word_embeddings", True),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
    )
    hf.finish()
    return cfg


_EXPECTED = {
    "mlp_type": "default",
    "norm_type": "layer_norm",
    "scale_attn_weights": True,
}


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn = Attention(cfg, layer)
        self.mlp = MLP(cfg.d_model, cfg.d_ff, bias=cfg.mlp_bias, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


NORM_BIASES = {
    "model.norm.bias": ("norm.bias", "d -> d"),
    "model.layers.{}.input_layernorm.bias": ("blocks.{}.attn_norm.bias", "d -> d"),
    "model.layers.{}.post_attention_layernorm.bias": ("blocks.{}.mlp_norm.bias", "d -> d"),
}
WEIGHTS: Table = (
    {name: target for name, target in llama.WEIGHTS.items() if ".mlp." not in name}
    | NORM_BIASES
    | {
        "model.layers.{}.mlp.c_fc.weight": ("blocks.{}.mlp.up.weight", "f d -> d f"),
        "model.layers.{}.mlp.c_fc.bias": ("blocks.{}.mlp.up.bias", "f -> f"),
        "model.layers.{}.mlp.c_proj.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
        "model.layers.{}.mlp.c_proj.bias": ("blocks.{}.mlp.down.bias", "d -> d"),
    }
)
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

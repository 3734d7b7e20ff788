"""ModernBERT: an encoder with RoPE, gated feed-forward layers, and a window in most layers.

https://arxiv.org/abs/2412.13663
"""

from typing import Literal

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.layers.norm import NoNorm
from sgjax.layers.rope import RopeConfig
from sgjax.models.family import ClassifierHead, Family, ModelConfig, Pooling, Target
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_local_rope, read_rope
from sgjax.models.norms import norm_of

_POOLINGS: dict[str, Literal["first", "mean"]] = {"cls": "first", "mean": "mean"}

_WITHOUT_EFFECT = (
    "decoder_bias",
    "deterministic_flash_attn",
    "initializer_cutoff_factor",
    "layer_norm_eps",  # norm_eps counts
    "position_embedding_type",  # whatever it says, positions turn
    "reference_compile",
    "repad_logits_with_grad",
    "sparse_pred_ignore_index",
    "sparse_prediction",
    "tie_word_embeddings",
)
"""About training, or the head that guesses masked tokens, which is not read."""


def config(hf: HFConfig) -> ModelConfig:
    for key in _WITHOUT_EFFECT:
        hf(key, None)
    num_heads, d_model = hf.size("num_attention_heads"), hf.size("hidden_size")
    has_bias = hf.flag("attention_bias", False)
    rope, local_rope = _ropes(hf)
    every = hf.size("global_attn_every_n_layers", 3)
    slides = hf.sliding_layers(lambda layer: layer % every > 0)
    window = hf.size("local_attention", 128) // 2 + 1
    cfg = ModelConfig(
        architecture=hf.architecture,
        vocab_size=hf.size("vocab_size"),
        num_layers=hf.size("num_hidden_layers"),
        d_model=d_model,
        d_ff=hf.size("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_size=hf.head_size(d_model, num_heads),
        context_length=hf.size("max_position_embeddings"),
        norm_eps=hf.number("norm_eps", 1e-5),
        rope=rope,
        layer_ropes=tuple(local_rope if slide else rope for slide in slides),
        windows=tuple(window if slide else None for slide in slides),
        tie_embeddings=True,
        norm="biased_layer" if hf.flag("norm_bias", False) else "layer",
        activation=hf.activation("hidden_activation", "gelu"),
        qkv_bias=has_bias,
        out_bias=has_bias,
        mlp_bias=hf.flag("mlp_bias", False),
        has_embed_norm=True,
        pooling=_pooling(hf),
        is_causal=False,
    )
    hf.finish()
    return cfg


def _ropes(hf: HFConfig) -> tuple[RopeConfig, RopeConfig]:
    """Of layers that see all, and of those with a window."""
    if hf("rope_parameters", None) is not None:
        return read_rope(hf), read_local_rope(hf, 10000.0)
    thetas = hf.number("global_rope_theta", 160000.0), hf.number("local_rope_theta", 10000.0)
    return RopeConfig(thetas[0]), RopeConfig(thetas[1])


def _pooling(hf: HFConfig) -> Pooling:
    """classifier_pooling is of classifiers alone."""
    of = hf("classifier_pooling", "cls")
    if of not in _POOLINGS:
        raise hf.error("classifier_pooling", f"is not known; known: {', '.join(_POOLINGS)}")
    head = ClassifierHead(
        hf.activation("classifier_activation", "gelu"),
        has_bias=hf.flag("classifier_bias", False),
        has_norm=True,
    )
    is_classifier = hf.architecture.endswith("ForSequenceClassification")
    return Pooling(of=_POOLINGS[of] if is_classifier else "first", head=head)


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm = norm_of(cfg) if layer else NoNorm()  # embeddings are normed already
        self.mlp_norm = norm_of(cfg)
        self.attn = Attention(cfg, layer)
        self.mlp = GatedMLP(cfg.d_model, cfg.d_ff, bias=cfg.mlp_bias, activation=cfg.activation)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


WEIGHTS: dict[str, Target | list[Target]] = {
    "model.embeddings.tok_embeddings.weight": ("embed.table", "v d -> v d"),
    "model.embeddings.norm.weight": ("embed_norm.scale", "d -> d"),
    "model.embeddings.norm.bias": ("embed_norm.bias", "d -> d"),
    "model.layers.{}.attn_norm.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    "model.layers.{}.attn_norm.bias": ("blocks.{}.attn_norm.bias", "d -> d"),
    "model.layers.{}.attn.Wqkv.weight": [
        ("blocks.{}.attn.qkv.weight:q", "[k g h*|kv h|kv h] d -> d k g h"),
        ("blocks.{}.attn.qkv.weight:k", "[k g h|kv h*|kv h] d -> d k 1 h"),
        ("blocks.{}.attn.qkv.weight:v", "[k g h|kv h|kv h*] d -> d k 1 h"),
    ],
    "model.layers.{}.attn.Wqkv.bias": [
        ("blocks.{}.attn.qkv.bias:q", "[k g h*|kv h|kv h] -> k g h"),
        ("blocks.{}.attn.qkv.bias:k", "[k g h|kv h*|kv h] -> k 1 h"),
        ("blocks.{}.attn.qkv.bias:v", "[k g h|kv h|kv h*] -> k 1 h"),
    ],
    "model.layers.{}.attn.Wo.weight": ("blocks.{}.attn.out.weight", "d (k g h) -> k g h d"),
    "model.layers.{}.attn.Wo.bias": ("blocks.{}.attn.out.bias", "d -> d"),
    "model.layers.{}.mlp_norm.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    "model.layers.{}.mlp_norm.bias": ("blocks.{}.mlp_norm.bias", "d -> d"),
    "model.layers.{}.mlp.Wi.weight": [
        ("blocks.{}.mlp.gate_up.weight:gate", "[f*|f] d -> d 1 f"),
        ("blocks.{}.mlp.gate_up.weight:up", "[f|f*] d -> d 1 f"),
    ],
    "model.layers.{}.mlp.Wi.bias": [
        ("blocks.{}.mlp.gate_up.bias:gate", "[f*|f] -> 1 f"),
        ("blocks.{}.mlp.gate_up.bias:up", "[f|f*] -> 1 f"),
    ],
    "model.layers.{}.mlp.Wo.weight": ("blocks.{}.mlp.down.weight", "d f -> f d"),
    "model.layers.{}.mlp.Wo.bias": ("blocks.{}.mlp.down.bias", "d -> d"),
    "model.final_norm.weight": ("norm.scale", "d -> d"),
    "model.final_norm.bias": ("norm.bias", "d -> d"),
    "head.dense.weight": ("pooler.head.dense.weight", "m d -> d m"),
    "head.dense.bias": ("pooler.head.dense.bias", "m -> m"),
    "head.norm.weight": ("pooler.head.norm.scale", "d -> d"),
    "head.norm.bias": ("pooler.head.norm.bias", "d -> d"),
    "classifier.weight": ("pooler.score", "y d -> y d"),
    "classifier.bias": ("pooler.score_bias", "y -> y"),
}

FAMILY = Family(
    config=config,
    block=Block,
    weights=WEIGHTS,
    ignored=("decoder.weight", "decoder.bias"),
)

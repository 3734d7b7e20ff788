"""Llama 4's language model: one expert a token beside one that all have, and layers without RoPE.

Layers with RoPE attend within chunks of the text, and queries of the others are scaled by position.
Of checkpoints that read images too, the text part.
https://ai.meta.com/blog/llama-4-multimodal-intelligence/
"""

from collections.abc import Mapping

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.head_norms import PlainHeadNorm
from sgjax.layers.inputs import StepInputs
from sgjax.layers.query_scale import QueryScale
from sgjax.layers.rope import RopeConfig
from sgjax.models import llama, qwen2_moe
from sgjax.models.family import Family, ModelConfig, MoEConfig, Table, Target
from sgjax.models.feed_forward import feed_forward_of
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope
from sgjax.models.norms import norm_of

_Ropes = tuple[RopeConfig | None, ...]


def config(hf: HFConfig) -> ModelConfig:
    for key in ("head_dim", "num_key_value_heads", "rms_norm_eps", "intermediate_size_mlp"):
        hf(key)  # no default: transformers would take Scout's
    bias = hf.flag("attention_bias", False)
    rope = read_rope(hf)
    ropes = _layer_ropes(hf, rope)
    cfg = llama.read_sizes(
        hf,
        rope=rope,
        qkv_bias=bias,
        out_bias=bias,
        d_ff=hf.size("intermediate_size_mlp"),
        has_qk_norms=hf.flag("use_qk_norm", True),
        layer_ropes=ropes,
        chunks=_chunks(hf, ropes),
        query_scales=_query_scales(hf, ropes),
        moe=_experts(hf),
    )
    for key in ("for_llm_compressor", "cache_implementation"):
        hf(key, None)
    hf.finish()
    return cfg


def _experts(hf: HFConfig) -> MoEConfig | None:
    """None: all layers are dense, and what is said of experts says nothing."""
    layers = _layers_with_experts(hf)
    if not any(layers):
        for key in ("intermediate_size", "num_experts_per_tok", "num_local_experts"):
            hf(key, None)
        return None
    hf.expect("num_experts_per_tok", 1)  # whose input, and not result, is weighed
    return MoEConfig(
        num_experts=hf.size("num_local_experts"),
        top_k=1,
        d_expert=hf.size("intermediate_size"),
        scoring="sigmoid",
        weighs_inputs=True,
        d_shared=hf.size("intermediate_size"),
        layers=layers,
    )


def _layers_with_experts(hf: HFConfig) -> tuple[bool, ...]:
    """Those of moe_layers, or else every interleave_moe_layer_step-th."""
    num_layers, listed = hf.size("num_hidden_layers"), hf("moe_layers", None)
    if listed is None:
        every = hf.size("interleave_moe_layer_step", 1)
        listed = range(every - 1, num_layers, every)
    hf("interleave_moe_layer_step", None)
    return tuple(layer in listed for layer in range(num_layers))


def _layer_ropes(hf: HFConfig, rope: RopeConfig) -> _Ropes:
    """Every no_rope_layer_interval-th layer has none, or those that no_rope_layers has 0 for."""
    num_layers, every = hf.size("num_hidden_layers"), hf.size("no_rope_layer_interval", 4)
    turns = hf("no_rope_layers", None) or [(i + 1) % every for i in range(num_layers)]
    if len(turns) != num_layers:
        raise hf.error("no_rope_layers", f"must say 1 or 0 for each of {num_layers} layers")
    return tuple(rope if turn else None for turn in turns)


def _chunks(hf: HFConfig, ropes: _Ropes) -> tuple[int | None, ...]:
    """Of the layers that layer_types says, or else of those with RoPE."""
    is_off = hf.is_null("attention_chunk_size")  # where the key is absent, transformers has a size
    are_chunked = hf.layers_of(
        "chunked_attention", lambda layer: ropes[layer] is not None and not is_off
    )
    if not any(are_chunked):
        hf("attention_chunk_size", None)
        return ()
    chunk = hf.size("attention_chunk_size")
    return tuple(chunk if is_chunked else None for is_chunked in are_chunked)


def _query_scales(hf: HFConfig, ropes: _Ropes) -> tuple[QueryScale | None, ...]:
    """Of the layers without RoPE."""
    scale = QueryScale(hf.size("floor_scale", 8192), hf.number("attn_scale", 0.1))
    is_on = bool(hf("attn_temperature_tuning", True))  # a number in older configs
    return tuple(scale if is_on and rope is None else None for rope in ropes)


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        norm = PlainHeadNorm(cfg.norm_eps)
        is_normed = cfg.has_qk_norms and cfg.layer_rope(layer) is not None
        self.attn = Attention(cfg, layer, qk_norms=(norm, norm) if is_normed else None)
        self.mlp = feed_forward_of(cfg, layer)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


def _renamed(table: Mapping[str, Target]) -> dict[str, Target]:
    return {name.replace(".mlp.", ".feed_forward."): rule for name, rule in table.items()}


_SHARED = "model.layers.{}.feed_forward.shared_expert"
WEIGHTS: Table = {
    **_renamed(llama.with_pairs(llama.WEIGHTS)),
    "model.layers.{}.feed_forward.router.weight": ("blocks.{}.mlp.router", "e d -> d e"),
    "model.layers.{}.feed_forward.experts.gate_up_proj": [
        ("blocks.{}.mlp.gate_up:gate", "e d [x*|x] -> e d 1 x"),
        ("blocks.{}.mlp.gate_up:up", "e d [x|x*] -> e d 1 x"),
    ],
    "model.layers.{}.feed_forward.experts.down_proj": ("blocks.{}.mlp.down", "e x d -> e x d"),
    **qwen2_moe.shared_table(_SHARED),
}
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

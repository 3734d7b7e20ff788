"""Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: a Llama whose checkpoints hold fused projections. LongRoPE
has factors for long texts and others for short ones: with a context past the original one, all
texts have the long ones (`--context-length 4096`, say, is served with the short ones).

https://arxiv.org/abs/2404.14219, https://arxiv.org/abs/2412.08905, https://arxiv.org/abs/2503.01743
"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig, Target
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope


def config(hf: HFConfig) -> ModelConfig:
    hf("original_max_position_embeddings", None)  # which says nothing where RoPE is not scaled
    for key in ("attention_bias", "mlp_bias", "lm_head_bias"):
        hf.expect(key, False)
    for key in ("full_attn_mod", "interpolate_factor"):
        hf.expect(key, 1)
    window = hf.size("sliding_window", None)
    cfg = llama.read_sizes(
        hf,
        rope=read_rope(hf, fraction=1.0),
        norm_eps=hf.number("rms_norm_eps", 1e-5),
        windows=(window,) * hf.size("num_hidden_layers"),
    )
    hf.finish()
    return cfg


_ATTN, _MLP = "blocks.{}.attn.qkv.weight", "blocks.{}.mlp.gate_up.weight"
_FUSED: dict[str, list[Target]] = {
    "model.layers.{}.self_attn.qkv_proj.weight": [
        (f"{_ATTN}:q", "[(k g h)*|(kv h)|(kv h)] d -> d k g h"),
        (f"{_ATTN}:k", "[(k g h)|(kv h)*|(kv h)] d -> d k 1 h"),
        (f"{_ATTN}:v", "[(k g h)|(kv h)|(kv h)*] d -> d k 1 h"),
    ],
    "model.layers.{}.mlp.gate_up_proj.weight": [
        (f"{_MLP}:gate", "[f*|f] d -> d 1 f"),
        (f"{_MLP}:up", "[f|f*] d -> d 1 f"),
    ],
}
_PARTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
WEIGHTS = {
    name: target for name, target in llama.WEIGHTS.items() if name.split(".")[-2] not in _PARTS
} | _FUSED
FAMILY = Family(config=config, block=llama.Block, weights=WEIGHTS)

"""DBRX: 16 experts, four a token; LayerNorms without a bias, and queries, keys and values that are
held within bounds. https://www.databricks.com/blog/introducing-dbrx-new-state-art-open-llm
"""

from sgjax.kernels_pallas.activations import Activation
from sgjax.layers.rope import RopeConfig
from sgjax.models import mixtral
from sgjax.models.family import Family, ModelConfig, MoEConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope

_NORM_EPS = 1e-5
_DROPOUT = ("attn_pdrop", "resid_pdrop", "emb_pdrop", "moe_jitter_eps", "moe_loss_weight")
"""Of training only."""


def config(hf: HFConfig) -> ModelConfig:
    attn, ffn = hf.inside("attn_config"), hf.inside("ffn_config")
    for key in _DROPOUT:
        for part in (hf, attn, ffn):
            part(key, None)
    num_heads, d_model = hf.size("n_heads"), hf.size("d_model")
    ffn.expect("hidden_size", d_model)
    hf.expect("num_key_value_heads", attn("kv_n_heads"))
    cfg = ModelConfig(
        architecture=hf.architecture,
        vocab_size=hf.size("vocab_size"),
        num_layers=hf.size("n_layers"),
        d_model=d_model,
        d_ff=ffn.size("ffn_hidden_size"),
        num_heads=num_heads,
        num_kv_heads=attn.divisor("kv_n_heads", num_heads, of="n_heads"),
        head_size=d_model // hf.divisor("n_heads", d_model, of="d_model"),
        context_length=hf.size("max_seq_len"),
        norm_eps=_NORM_EPS,
        norm="layer",
        rope=_read_rope(hf, attn),
        qkv_clip=attn.optional_number("clip_qkv"),
        activation=_read_activation(ffn),
        moe=_read_experts(ffn),
    )
    hf.expect("tie_word_embeddings", False)
    for part in (attn, ffn, hf):
        part.expect("is_encoder_decoder", False)
        part.finish()
    return cfg


def _read_rope(hf: HFConfig, attn: HFConfig) -> RopeConfig:
    """Its base stands among what is said of attention; since transformers 5, above it too."""
    theta = attn.number("rope_theta", 10000.0)
    if hf("rope_parameters", None) is not None and read_rope(hf) != RopeConfig(theta):
        raise hf.error("rope_parameters", f"contradicts attn_config, where rope_theta = {theta}")
    return RopeConfig(theta)


def _read_activation(ffn: HFConfig) -> Activation:
    given = ffn("ffn_act_fn", {"name": "silu"})
    if given != {"name": "silu"}:
        raise ffn.error("ffn_act_fn", 'is supported as {"name": "silu"} only')
    return "silu"


def _read_experts(ffn: HFConfig) -> MoEConfig:
    num_experts = ffn.size("moe_num_experts", 4)
    ffn.expect("moe_normalize_expert_weights", 1)
    ffn.expect("uniform_expert_assignment", False)
    return MoEConfig(
        num_experts=num_experts,
        top_k=ffn.at_most("moe_top_k", num_experts, of="moe_num_experts"),
        d_expert=ffn.size("ffn_hidden_size"),
        renormalise=True,
    )


WEIGHTS = {
    "transformer.wte.weight": ("embed.table", "v d -> v d"),
    "transformer.norm_f.weight": ("norm.scale", "d -> d"),
    "lm_head.weight": ("head.table", "v d -> v d"),
    "transformer.blocks.{}.norm_attn_norm.norm_1.weight": ("blocks.{}.attn_norm.scale", "d -> d"),
    "transformer.blocks.{}.norm_attn_norm.norm_2.weight": ("blocks.{}.mlp_norm.scale", "d -> d"),
    "transformer.blocks.{}.norm_attn_norm.attn.Wqkv.weight": [
        ("blocks.{}.attn.qkv.weight:q", "[(k g h)*|(kv h)|(kv h)] d -> d k g h"),
        ("blocks.{}.attn.qkv.weight:k", "[(k g h)|(kv h)*|(kv h)] d -> d k 1 h"),
        ("blocks.{}.attn.qkv.weight:v", "[(k g h)|(kv h)|(kv h)*] d -> d k 1 h"),
    ],
    "transformer.blocks.{}.norm_attn_norm.attn.out_proj.weight": (
        "blocks.{}.attn.out.weight",
        "d (k g h) -> k g h d",
    ),
    "transformer.blocks.{}.ffn.router.layer.weight": ("blocks.{}.mlp.router", "e d -> d e"),
    "transformer.blocks.{}.ffn.experts.mlp.w1": (
        "blocks.{}.mlp.gate_up:gate",
        "(e x) d -> e d 1 x",
    ),
    "transformer.blocks.{}.ffn.experts.mlp.v1": ("blocks.{}.mlp.gate_up:up", "(e x) d -> e d 1 x"),
    "transformer.blocks.{}.ffn.experts.mlp.w2": ("blocks.{}.mlp.down", "(e x) d -> e x d"),
}
FAMILY = Family(config=config, block=mixtral.Block, weights=WEIGHTS)

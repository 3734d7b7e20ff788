"""GLM-4.5 and 4.6: DeepSeek V3's routing over many small experts, attention that turns half of each
head and may norm its heads. https://arxiv.org/abs/2508.06471
"""

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerKV
from sgjax.layers.attention import Attention
from sgjax.layers.inputs import StepInputs
from sgjax.models import deepseek, llama, qwen2_moe, qwen3
from sgjax.models.family import Family, ModelConfig, MoEConfig
from sgjax.models.feed_forward import feed_forward_of
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope
from sgjax.models.norms import head_norm_of, norm_of


def config(hf: HFConfig) -> ModelConfig:
    for key in ("head_dim", "num_key_value_heads", "rms_norm_eps"):
        hf(key)  # no default: transformers would take another size of heads, 8 and 1e-5
    num_experts = hf.size("n_routed_experts")
    groups = hf.divisor("n_group", num_experts, of="n_routed_experts")
    moe = MoEConfig(
        num_experts=num_experts,
        top_k=hf.at_most("num_experts_per_tok", num_experts, of="n_routed_experts"),
        d_expert=hf.size("moe_intermediate_size"),
        scoring="sigmoid",
        renormalise=hf.flag("norm_topk_prob", True),
        scale=hf.number("routed_scaling_factor", 1.0),
        selection_bias=True,
        num_groups=groups,
        top_groups=hf.at_most("topk_group", groups, of="n_group"),
        group_score="top2",
        d_shared=hf.size("moe_intermediate_size") * hf.count("n_shared_experts"),
        layers=deepseek.read_layers(hf),
    )
    cfg = llama.read_sizes(
        hf,
        rope=read_rope(hf, fraction=0.5),
        qkv_bias=hf.flag("attention_bias", False),
        has_qk_norms=hf.flag("use_qk_norm", False),
        draft_layers=hf.count("num_nextn_predict_layers", 0),
        moe=moe,
    )
    hf.finish()
    return cfg


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        norms = (head_norm_of(cfg), head_norm_of(cfg)) if cfg.has_qk_norms else None
        self.attn, self.mlp = Attention(cfg, layer, qk_norms=norms), feed_forward_of(cfg, layer)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LayerKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LayerKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


WEIGHTS = (
    qwen3.WEIGHTS
    | qwen2_moe.experts_table("model.layers.{}.mlp")
    | qwen2_moe.shared_table("model.layers.{}.mlp.shared_experts")
    | {
        "model.layers.{}.mlp.gate.e_score_correction_bias": (
            "blocks.{}.mlp.selection_bias",
            "e -> e",
        ),
    }
)
FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

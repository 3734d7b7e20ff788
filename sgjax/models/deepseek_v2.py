"""DeepSeek V2 and V2-Lite: latent attention, and experts beside one that all tokens have.

https://arxiv.org/abs/2405.04434
"""

import dataclasses
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LatentKV
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mla import LatentAttention
from sgjax.layers.rope import score_factor
from sgjax.models import llama, qwen2_moe
from sgjax.models.family import Family, MLAConfig, ModelConfig, MoEConfig, Target
from sgjax.models.feed_forward import feed_forward_of
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope
from sgjax.models.norms import norm_of


def config(hf: HFConfig) -> ModelConfig:
    hf.expect("scoring_func", "softmax")
    hf.expect("norm_topk_prob", False)  # its authors' code and transformers differ in what true is
    hf.expect("mlp_bias", False)
    cfg = read_sizes(hf, moe=read_experts(hf, _groups(hf)))
    hf.finish()
    return cfg


def _groups(hf: HFConfig) -> dict[str, Any]:
    method = hf("topk_method", "greedy")
    if method == "group_limited_greedy":
        return read_groups(hf)
    if method != "greedy":
        raise hf.error("topk_method", "must be greedy or group_limited_greedy")
    for key in ("n_group", "topk_group"):
        hf(key, None)  # without effect
    return {}


def read_sizes(hf: HFConfig, **more: Any) -> ModelConfig:
    """What DeepSeek's families with latent attention have in common."""
    if hf("quantization_config", None) is not None:
        raise hf.error(
            "quantization_config",
            "is not supported. Serve the model's bfloat16 form: convert the weights with the "
            "script fp8_cast_bf16.py, which its authors publish, and remove this key",
        )
    sizes = MLAConfig(
        kv_latent=hf.size("kv_lora_rank"),
        q_latent=hf.size("q_lora_rank", None),
        num_unturned=hf.size("qk_nope_head_dim"),
        value_size=hf.size("v_head_dim"),
    )
    turned, rope = hf.size("qk_rope_head_dim"), read_rope(hf)
    head_size = sizes.num_unturned + turned
    hf.expect("num_key_value_heads", hf.size("num_attention_heads"))
    biases = hf.flag("attention_bias", False)
    hf("ep_size", None)  # of the training
    # Since transformers 5, these follow from the others.
    hf.expect("head_dim", turned)
    hf.expect("qk_head_dim", head_size)
    scale = head_size**-0.5 * score_factor(rope)
    return llama.read_sizes(
        hf,
        rope=rope,
        head_size=turned,
        attn_scale=scale,
        mla=sizes,
        qkv_bias=biases,
        out_bias=biases,
        **more,
    )


def read_experts(hf: HFConfig, choice: dict[str, Any]) -> MoEConfig | None:
    """The experts of all layers but the first; None where these are all. `choice` is how a family
    chooses those of a token."""
    num_experts = hf.size("n_routed_experts")
    num_shared, d_expert = hf.count("n_shared_experts", 0), hf.size("moe_intermediate_size")
    moe = MoEConfig(
        num_experts=num_experts,
        top_k=hf.at_most("num_experts_per_tok", num_experts, of="n_routed_experts"),
        d_expert=d_expert,
        scale=hf.number("routed_scaling_factor", 1.0),
        d_shared=num_shared * d_expert,
        **choice,
    )
    if moe.top_k > num_experts // moe.num_groups * moe.top_groups:
        raise hf.error("topk_group", f"groups have fewer than {moe.top_k} experts")
    hf.expect("moe_layer_freq", 1)
    num_layers, first = hf.size("num_hidden_layers"), hf.count("first_k_dense_replace", 0)
    if first > num_layers:
        raise hf.error("first_k_dense_replace", f"must be in [0, {num_layers}]")
    if first == num_layers:
        return None
    return dataclasses.replace(moe, layers=tuple(i >= first for i in range(num_layers)))


def read_groups(hf: HFConfig) -> dict[str, Any]:
    num_experts = hf.size("n_routed_experts")
    num_groups = hf.divisor("n_group", num_experts, of="n_routed_experts")
    return {
        "num_groups": num_groups,
        "top_groups": hf.at_most("topk_group", num_groups, of="n_group"),
    }


class Block(nnx.Module):
    def __init__(self, cfg: ModelConfig, layer: int):
        self.attn_norm, self.mlp_norm = norm_of(cfg), norm_of(cfg)
        self.attn = LatentAttention(cfg, layer)
        self.mlp = feed_forward_of(cfg, layer)

    def __call__(
        self, x: Float[Array, "T D"], h: Float[Array, "T D"], kv: LatentKV, step: StepInputs
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"], LatentKV]:
        x, h, kv = self.attn(self.attn_norm, x, h, kv, step)
        x, h = self.mlp(self.mlp_norm, x, h, step)
        return x, h, kv


_OF_LLAMA = {name: to for name, to in llama.WEIGHTS.items() if ".self_attn." not in name}
WEIGHTS: dict[str, Target | list[Target]] = {
    **_OF_LLAMA,
    **qwen2_moe.experts_table("model.layers.{}.mlp"),
    **qwen2_moe.shared_table("model.layers.{}.mlp.shared_experts"),
    "model.layers.{}.self_attn.q_proj.weight": [
        ("blocks.{}.attn.q.weight:unturned", "(k [u*|i]) d -> d k u"),
        ("blocks.{}.attn.q.weight:turned", "(k [u|i*]) d -> d k h"),
    ],
    "model.layers.{}.self_attn.q_a_proj.weight": ("blocks.{}.attn.down.weight:q", "q d -> d q"),
    "model.layers.{}.self_attn.q_a_proj.bias": ("blocks.{}.attn.down.bias:q", "q -> q"),
    "model.layers.{}.self_attn.q_a_layernorm.weight": ("blocks.{}.attn.q_norm.scale", "q -> q"),
    "model.layers.{}.self_attn.q_b_proj.weight": [
        ("blocks.{}.attn.q_up.weight:unturned", "(k [u*|i]) q -> q k u"),
        ("blocks.{}.attn.q_up.weight:turned", "(k [u|i*]) q -> q k h"),
    ],
    "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight": [
        ("blocks.{}.attn.down.weight:latent", "[a*|i] d -> d a"),
        ("blocks.{}.attn.down.weight:turned", "[a|i*] d -> d h"),
        # Without a latent of queries, there is nothing to fuse it with.
        ("blocks.{}.attn.kv_down.weight:latent", "[a*|i] d -> d a"),
        ("blocks.{}.attn.kv_down.weight:turned", "[a|i*] d -> d h"),
    ],
    "model.layers.{}.self_attn.kv_a_proj_with_mqa.bias": [
        ("blocks.{}.attn.down.bias:latent", "[a*|i] -> a"),
        ("blocks.{}.attn.down.bias:turned", "[a|i*] -> h"),
        ("blocks.{}.attn.kv_down.bias:latent", "[a*|i] -> a"),
        ("blocks.{}.attn.kv_down.bias:turned", "[a|i*] -> h"),
    ],
    "model.layers.{}.self_attn.kv_a_layernorm.weight": (
        "blocks.{}.attn.latent_norm.scale",
        "a -> a",
    ),
    "model.layers.{}.self_attn.kv_b_proj.weight": [
        ("blocks.{}.attn.key_up", "(k [u*|j]) a -> k u a"),
        ("blocks.{}.attn.value_up", "(k [u|j*]) a -> k j a"),
    ],
    "model.layers.{}.self_attn.o_proj.weight": ("blocks.{}.attn.out.weight", "d (k j) -> k j d"),
    "model.layers.{}.self_attn.o_proj.bias": ("blocks.{}.attn.out.bias", "d -> d"),
}

FAMILY = Family(config=config, block=Block, weights=WEIGHTS)

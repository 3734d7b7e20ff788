"""DeepSeekMoE, the first DeepSeek with experts: a Llama with many small ones, and some that all
tokens have, which are one wide expert in the checkpoint. https://arxiv.org/abs/2401.06066
"""

from sgjax.models import llama, mixtral, qwen2_moe
from sgjax.models.family import Family, ModelConfig, MoEConfig
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    hf.expect("scoring_func", "softmax")
    bias = hf.flag("attention_bias", False)
    num_experts = hf.size("n_routed_experts")
    moe = MoEConfig(
        num_experts=num_experts,
        top_k=hf.at_most("num_experts_per_tok", num_experts, of="n_routed_experts"),
        d_expert=hf.size("moe_intermediate_size"),
        renormalise=hf.flag("norm_topk_prob", False),
        d_shared=hf.size("moe_intermediate_size") * hf.count("n_shared_experts"),
        layers=read_layers(hf),
    )
    cfg = llama.read_sizes(hf, qkv_bias=bias, out_bias=bias, moe=moe)
    hf.finish()
    return cfg


def read_layers(hf: HFConfig) -> tuple[bool, ...]:
    """Which layers have experts: those whose number moe_layer_freq divides, but for the first
    first_k_dense_replace."""
    first, every = hf.count("first_k_dense_replace"), hf.size("moe_layer_freq", 1)
    num_layers = hf.size("num_hidden_layers")
    layers = tuple(i >= first and i % every == 0 for i in range(num_layers))
    if not any(layers):
        raise hf.error("first_k_dense_replace", "and moe_layer_freq leave no layer with experts")
    return layers


WEIGHTS = (
    llama.WEIGHTS
    | qwen2_moe.experts_table("model.layers.{}.mlp")
    | qwen2_moe.shared_table("model.layers.{}.mlp.shared_experts")
)
FAMILY = Family(config=config, block=mixtral.Block, weights=WEIGHTS)

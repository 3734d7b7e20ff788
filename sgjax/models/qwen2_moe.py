"""Qwen1.5-MoE and Qwen2-MoE: a Qwen2 with many small experts, and one that all tokens have.

https://arxiv.org/abs/2407.10671, https://qwenlm.github.io/blog/qwen-moe/
"""

from sgjax.models import llama, mixtral
from sgjax.models.family import Family, ModelConfig, MoEConfig, Target
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    hf("num_key_value_heads")  # no default: transformers would take 16
    hf.expect("use_sliding_window", False)  # in which layers is not what it is in Qwen2
    cfg = llama.read_sizes(
        hf,
        qkv_bias=hf.flag("qkv_bias", True),
        windows=hf.windows(),
        moe=read_experts(hf, d_shared=hf.size("shared_expert_intermediate_size"), shared_gate=True),
    )
    hf.finish()
    return cfg


def read_experts(hf: HFConfig, *, d_shared: int = 0, shared_gate: bool = False) -> MoEConfig:
    """The experts as Qwen says it."""
    other_name = hf.size("num_local_experts", None)  # since transformers 5
    num_experts = hf.size("num_experts", other_name) or hf.size("num_experts")
    return MoEConfig(
        num_experts=num_experts,
        top_k=hf.at_most("num_experts_per_tok", num_experts, of="num_experts"),
        d_expert=hf.size("moe_intermediate_size"),
        renormalise=hf.flag("norm_topk_prob", False),
        d_shared=d_shared,
        shared_gate=shared_gate,
        layers=_layers(hf),
    )


def _layers(hf: HFConfig) -> tuple[bool, ...]:
    """Every decoder_sparse_step-th layer has experts, but for those of mlp_only_layers."""
    step, dense = hf.size("decoder_sparse_step", 1), hf("mlp_only_layers", [])
    num_layers = hf.size("num_hidden_layers")
    if not (isinstance(dense, list) and set(dense) <= set(range(num_layers))):
        raise hf.error("mlp_only_layers", f"must list some of the {num_layers} layers")
    layers = tuple((i + 1) % step == 0 and i not in dense for i in range(num_layers))
    if not any(layers):
        raise hf.error("decoder_sparse_step", "and mlp_only_layers leave no layer with experts")
    return layers


def experts_table(prefix: str) -> dict[str, Target]:
    """The tensors of experts whose projections are named as a Llama's are."""
    return {
        f"{prefix}.gate.weight": ("blocks.{}.mlp.router", "e d -> d e"),
        f"{prefix}.experts.{{e}}.gate_proj.weight": (
            "blocks.{}.mlp.gate_up:gate",
            "x d -> e d 1 x",
        ),
        f"{prefix}.experts.{{e}}.up_proj.weight": ("blocks.{}.mlp.gate_up:up", "x d -> e d 1 x"),
        f"{prefix}.experts.{{e}}.down_proj.weight": ("blocks.{}.mlp.down", "d x -> e x d"),
    }


def shared_table(prefix: str) -> dict[str, Target]:
    """The tensors of the expert that all tokens have."""
    return {
        f"{prefix}.gate_proj.weight": (
            "blocks.{}.mlp.shared.gate_up.weight:gate",
            "fs d -> d 1 fs",
        ),
        f"{prefix}.up_proj.weight": ("blocks.{}.mlp.shared.gate_up.weight:up", "fs d -> d 1 fs"),
        f"{prefix}.down_proj.weight": ("blocks.{}.mlp.shared.down.weight", "d fs -> fs d"),
    }


WEIGHTS = (
    llama.WEIGHTS
    | experts_table("model.layers.{}.mlp")
    | shared_table("model.layers.{}.mlp.shared_expert")
    | {
        "model.layers.{}.mlp.shared_expert_gate.weight": (
            "blocks.{}.mlp.shared_gate",
            "1 d -> d",
        )
    }
)
FAMILY = Family(config=config, block=mixtral.Block, weights=WEIGHTS)

"""DeepSeek V3 and R1: a DeepSeek V2 that chooses experts in another way.

A bias an expert keeps them in balance, and counts for the choice only. Layers at the end of a
checkpoint that draft tokens (multi-token prediction) are not loaded.
https://arxiv.org/abs/2412.19437, https://arxiv.org/abs/2501.12948
"""

from sgjax.models import deepseek_v2
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    hf.expect("scoring_func", "sigmoid")
    hf.expect("topk_method", "noaux_tc")
    hf.expect("rope_interleave", True)
    choice = {
        "scoring": "sigmoid",
        "selection_bias": True,
        "group_score": "top2",
        "renormalise": hf.flag("norm_topk_prob", True),
    }
    moe = deepseek_v2.read_experts(hf, choice | deepseek_v2.read_groups(hf))
    drafts = hf.count("num_nextn_predict_layers", 0)
    cfg = deepseek_v2.read_sizes(hf, moe=moe, draft_layers=drafts)
    hf.finish()
    return cfg


WEIGHTS = deepseek_v2.WEIGHTS | {
    "model.layers.{}.mlp.gate.e_score_correction_bias": (
        "blocks.{}.mlp.selection_bias",
        "e -> e",
    ),
}
FAMILY = Family(config=config, block=deepseek_v2.Block, weights=WEIGHTS)

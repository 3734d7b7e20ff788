"""RoBERTa and XLM-RoBERTa: a BERT whose positions begin after that of padding.

https://arxiv.org/abs/1907.11692, https://arxiv.org/abs/1911.02116
"""

from sgjax.models import bert
from sgjax.models.family import Family, ModelConfig, Target
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    first_position = hf.index("pad_token_id", 1) + 1
    num_positions = hf.size("max_position_embeddings")
    if num_positions <= first_position:
        raise hf.error("max_position_embeddings", f"must be above {first_position}")
    cfg = bert.read_sizes(
        hf, first_position=first_position, context_length=num_positions - first_position
    )
    hf.finish()
    return cfg


WEIGHTS: dict[str, Target] = {f"roberta.{name}": target for name, target in bert.BODY.items()} | {
    "classifier.dense.weight": ("pooler.head.dense.weight", "m d -> d m"),
    "classifier.dense.bias": ("pooler.head.dense.bias", "m -> m"),
    "classifier.out_proj.weight": ("pooler.score", "y d -> y d"),
    "classifier.out_proj.bias": ("pooler.score_bias", "y -> y"),
}

FAMILY = Family(
    config=config,
    block=bert.Block,
    weights=WEIGHTS,
    # The pooler is of another objective than embeddings: RoBERTa was never trained on it.
    ignored=("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias", "lm_head."),
    prefix="roberta.",
)

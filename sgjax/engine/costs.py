"""What steps of a model cost, estimated from its sizes."""

from sgjax.engine.pace import StepCost
from sgjax.models.family import ModelConfig

TOKENS_A_READ = 150
"""Tokens that an accelerator multiplies with a weight in the time in which it reads it: operations
over bytes a second (H200: 780 T / 4.3 T, less what products do not reach)."""
MIXED_PART = 0.25
"""Of a step of one token: what prompts add to a step, however few they are (H200: 1 ms of 4)."""
ATTENTION_SPEED = 0.45
"""Of the speed of products, in chunks of a few hundred tokens."""


def step_cost(cfg: ModelConfig) -> StepCost:
    """For a dense model whose weights and cache have numbers of equal size; devices that share it
    share all parts alike."""
    heads = cfg.num_heads * cfg.head_size
    kv_heads = cfg.num_kv_heads * cfg.head_size
    layer = 2 * cfg.d_model * (heads + kv_heads) + 3 * cfg.d_model * cfg.d_ff
    weights = cfg.num_layers * layer + cfg.vocab_size * cfg.d_model
    step = TOKENS_A_READ * weights / (cfg.num_layers * layer)
    return StepCost(
        step=step,
        per_cached=TOKENS_A_READ * 2 * kv_heads / layer,
        per_pair=2 * heads / layer / ATTENTION_SPEED,
        mixed=MIXED_PART * step,
    )

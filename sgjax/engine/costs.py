"""What steps of a model cost, estimated from its sizes."""

from typing import NamedTuple

from sgjax.engine.pace import StepCost
from sgjax.models.family import MLAConfig, ModelConfig

TOKENS_A_READ = 150
"""Tokens that an accelerator multiplies with a weight in the time in which it reads it: operations
over bytes a second (H200: 780 T / 4.3 T, less what products do not reach)."""
MIXED_PART = 0.25
"""Of a step of one token: what prompts add to a step, however few they are (H200: 1 ms of 4)."""
ATTENTION_SPEED = 0.45
"""Of the speed of products, in chunks of a few hundred tokens."""


def step_cost(cfg: ModelConfig) -> StepCost:
    """For a model whose weights and cache have numbers of equal size; devices that share it share
    all parts alike.

    Of experts, a token is multiplied with its own, and a step reads all: those of few rows read
    fewer, but steps with prompts, which they are weighed against, do not.
    """
    attention = _of_latents(cfg, cfg.mla) if cfg.mla is not None else _of_heads(cfg)
    layers, weights = range(cfg.num_layers), attention.weights
    multiplied = sum(weights + _feed_forward(cfg, layer, of_all=False) for layer in layers)
    read = sum(weights + _feed_forward(cfg, layer, of_all=True) for layer in layers)
    layer = multiplied / cfg.num_layers
    step = TOKENS_A_READ * (read + cfg.vocab_size * cfg.d_model) / multiplied
    return StepCost(
        step=step,
        per_cached=TOKENS_A_READ * attention.cached / layer,
        per_pair=attention.products / layer / ATTENTION_SPEED,
        mixed=MIXED_PART * step,
    )


class _Attention(NamedTuple):
    """Of one layer."""

    weights: int
    cached: int
    """Numbers that a token has in the cache."""
    products: int
    """Of numbers, for a token and one that it sees."""


def _of_heads(cfg: ModelConfig) -> _Attention:
    heads = cfg.num_heads * cfg.head_size
    kv_heads = cfg.num_kv_heads * cfg.head_size
    return _Attention(2 * cfg.d_model * (heads + kv_heads), 2 * kv_heads, 2 * heads)


def _of_latents(cfg: ModelConfig, mla: MLAConfig) -> _Attention:
    entry, N = mla.kv_latent + cfg.head_size, cfg.num_heads
    queries, values = N * (mla.num_unturned + cfg.head_size), N * mla.value_size
    of_queries = cfg.d_model if mla.q_latent is None else mla.q_latent
    weights = of_queries * queries + cfg.d_model * ((mla.q_latent or 0) + entry + values)
    weights += N * mla.kv_latent * (mla.num_unturned + mla.value_size)
    return _Attention(weights, entry, N * (entry + mla.kv_latent))


def _feed_forward(cfg: ModelConfig, layer: int, *, of_all: bool) -> int:
    """Weights of a feed-forward layer: of all experts, or of those that one token has."""
    if cfg.moe is None or not cfg.moe.is_in(layer):
        return 3 * cfg.d_model * cfg.d_ff
    count = cfg.moe.num_experts if of_all else cfg.moe.top_k
    return 3 * cfg.d_model * (count * cfg.moe.d_expert + cfg.moe.d_shared)

"""Routing is what its definition says, token by token."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.layers.routing import largest_by_rank, route
from sgjax.models.family import MoEConfig

PLAIN = MoEConfig(num_experts=12, top_k=3, d_expert=8)
GROUPS = {"num_groups": 4, "top_groups": 2}
WAYS = {
    "softmax": {},
    "softmax of the chosen": {"renormalise": True},
    "one expert": {"top_k": 1},
    "all experts": {"top_k": 12, "renormalise": True},
    "sigmoid": {"scoring": "sigmoid"},
    "sigmoid, with all of DeepSeek V3": {
        "scoring": "sigmoid",
        "renormalise": True,
        "selection_bias": True,
        "scale": 2.5,
        "group_score": "top2",
        **GROUPS,
    },
    "groups by their best": {**GROUPS, "scale": 16.0},
    "groups by their two best": {**GROUPS, "group_score": "top2"},
    "a bias on softmax": {"selection_bias": True},
    "capped logits": {"logit_soft_cap": 2.0},
}


def route_one(logits: np.ndarray, moe: MoEConfig, bias: np.ndarray) -> tuple[list[int], list]:
    """Of one token, in float64."""
    if moe.logit_soft_cap is not None:
        logits = moe.logit_soft_cap * np.tanh(logits / moe.logit_soft_cap)
    if moe.scoring == "softmax":
        scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    else:
        scores = 1 / (1 + np.exp(-logits))
    choice = scores + bias if moe.selection_bias else scores
    size = moe.num_experts // moe.num_groups
    best = {"max": 1, "top2": 2}[moe.group_score]
    of_group = [np.sort(choice[g * size :][:size])[-best:].sum() for g in range(moe.num_groups)]
    groups = np.argsort(of_group)[::-1][: moe.top_groups]
    allowed = [e for e in range(moe.num_experts) if e // size in groups]
    ids = sorted(allowed, key=lambda e: -choice[e])[: moe.top_k]
    total = scores[ids].sum() if moe.renormalise else 1.0
    return ids, (scores[ids] / total * moe.scale).tolist()


@pytest.mark.parametrize("way", WAYS)
def test_experts_and_weights_are_those_of_the_definition(way):
    moe = dataclasses.replace(PLAIN, **WAYS[way])
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20, 12)).astype(np.float32)
    bias = random.normal(0, 0.5, 12).astype(np.float32)
    given = jnp.asarray(bias) if moe.selection_bias else None
    ids, weights = route(jnp.asarray(logits), moe, given)
    assert weights.dtype == jnp.float32
    for t in range(20):
        wanted_ids, wanted = route_one(logits[t].astype(np.float64), moe, bias.astype(np.float64))
        assert ids[t].tolist() == wanted_ids
        np.testing.assert_allclose(weights[t], wanted, rtol=1e-5)


def test_softmax_renormalised_is_the_softmax_of_the_chosen_logits():
    moe = dataclasses.replace(PLAIN, renormalise=True)
    logits = np.random.default_rng(1).normal(0, 3, (5, 12)).astype(np.float32)
    ids, weights = route(jnp.asarray(logits), moe)
    chosen = np.exp(np.take_along_axis(logits, np.asarray(ids), 1))
    np.testing.assert_allclose(weights, chosen / chosen.sum(-1, keepdims=True), rtol=1e-5)


def test_scores_that_vanish_can_be_renormalised():
    moe = dataclasses.replace(PLAIN, scoring="sigmoid", renormalise=True)
    _, weights = route(jnp.full((1, 12), -1e4), moe)
    assert np.isfinite(np.asarray(weights)).all()


@pytest.mark.parametrize("shape", [(50, 12), (3, 4, 6), (1, 1)])
@pytest.mark.parametrize("k", [1, 4])
def test_what_ranks_give_is_top_k(shape, k):
    k = min(k, shape[-1])
    random = np.random.default_rng(1)
    for x in (random.integers(-1, 2, shape), random.normal(size=shape)):
        x = jnp.asarray(np.where(x == 1, -np.inf, x), jnp.float32)
        for found, wanted in zip(largest_by_rank(x, k), jax.lax.top_k(x, k), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_what_is_no_number_is_somewhere_all_the_same():
    x = jnp.full((2, 12), jnp.nan).at[1, 3].set(1.0)
    _, ids = largest_by_rank(x, 3)
    assert ((ids >= 0) & (ids < 12)).all()

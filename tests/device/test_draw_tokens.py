"""On a GPU: the kernels draw the tokens of the definition, each as often as it is likely.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_draw_tokens.py
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.draw_tokens import draw_tokens
from tests.kernels_pallas.draws import candidates, draws_of

pytestmark = pytest.mark.device

V = 128_256
by_kernel, by_definition = (
    jax.jit(functools.partial(draw_tokens, implementation=name)) for name in ("triton", "reference")
)
SPREADS = {"flat": 0.02, "like a model's": 3.0, "peaked": 8.0}


@pytest.mark.parametrize("R", [1, 64, 256, 512])
@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS.keys())
def test_kernels_draw_what_the_definition_draws(spread, R):
    """Sums in another order, and functions in another last place, decide about one draw in a
    million: of all these, one may be another."""
    keys = jax.random.split(jax.random.key(R))
    logits = spread * jax.random.normal(keys[0], (R, V))
    history = jax.random.randint(keys[1], (R, V), 0, 9).astype(jnp.int16)
    penalties = {"frequency_penalty": 0.3, "presence_penalty": 0.1, "repetition_penalty": 1.2}
    cuts = itertools.product((-1, 1, 50), (1.0, 0.5, 0.95), (0.0, 0.05), ({}, penalties))
    num_different = 0
    for i, (top_k, top_p, min_p, more) in enumerate(cuts):
        draws = draws_of(
            R, seeds=np.arange(R) + 1000 * i, top_k=top_k, top_p=top_p, min_p=min_p, **more
        )
        found, expected = by_kernel(logits, history, draws), by_definition(logits, history, draws)
        assert (found >= 0).all()
        num_different += int((found != expected).sum())
    assert num_different <= 1


def test_greedy_rows_are_exactly_those_of_the_definition():
    """With logits of few values, as those of bfloat16 are: the first of equals counts."""
    logits = jnp.round(4 * jax.random.normal(jax.random.key(1), (64, V)))
    draws = draws_of(64, temperature=0.0, top_k=7, top_p=0.5)
    found = by_kernel(logits, jnp.zeros((1, V), jnp.int16), draws)
    assert found.tolist() == jnp.argmax(logits, axis=-1).tolist()


@pytest.mark.parametrize("top_k", [-1, 1, 40])
def test_equal_and_masked_and_unsound_rows(top_k):
    logits = np.zeros((5, V), np.float32)
    logits[1, 7:] = -np.inf
    logits[2, 77777] = np.nan
    logits[3, 5] = np.inf
    logits[4] = -np.inf
    draws = draws_of(5, top_k=top_k, top_p=0.5)
    given = jnp.asarray(logits), jnp.zeros((5, V), jnp.int16), draws
    found = by_kernel(*given).tolist()
    assert found == by_definition(*given).tolist()
    assert found[1] < 7 and found[2:] == [-1, -1, -1]


@pytest.mark.parametrize(
    "cuts", [{}, {"top_p": 0.8}, {"top_k": 12, "temperature": 1.5}, {"min_p": 0.05}], ids=str
)
def test_tokens_are_drawn_as_often_as_they_are_likely(cuts):
    R, few = 512, 50
    row = np.full(V, -np.inf, np.float32)
    places = np.random.default_rng(0).choice(V, few, replace=False)
    row[places] = np.random.default_rng(1).normal(size=few) * 1.5
    is_in, _ = candidates(row, **cuts)
    likelihoods = np.exp(row.astype(np.float64) / cuts.get("temperature", 1)) * is_in
    logits, history = jnp.tile(row, (R, 1)), jnp.zeros((1, V), jnp.int16)
    counts = np.zeros(V)
    for i in range(40):
        draws = draws_of(R, seeds=11, positions=np.arange(R) + R * i, **cuts)
        counts += np.bincount(np.asarray(by_kernel(logits, history, draws)), minlength=V)
    assert (counts[~is_in] == 0).all()
    expected = likelihoods / likelihoods.sum() * R * 40
    is_common = expected >= 5
    chi_square = ((counts - expected)[is_common] ** 2 / expected[is_common]).sum()
    freedom = int(is_common.sum())
    assert chi_square < freedom + 3.1 * np.sqrt(2 * freedom) + 4

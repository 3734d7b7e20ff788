"""Drawn tokens: the definition against float64, and the kernels against the definition."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgjax.kernels_pallas.draw_tokens import Draws, draw_tokens, reference, triton
from sgjax.kernels_pallas.draw_tokens.rules import Rules, penalised, rules_of
from tests.kernels_pallas.draws import candidates, draws_of

by_definition = jax.jit(functools.partial(draw_tokens, implementation="reference"))
by_kernel = jax.jit(functools.partial(triton.draw_tokens, interpret=True))
BOTH = pytest.mark.parametrize("draw", [by_definition, by_kernel], ids=["definition", "kernel"])

SHAPES = {
    "like a model's": lambda rng, *shape: rng.normal(size=shape) * 3,
    "peaked": lambda rng, *shape: rng.normal(size=shape) * 12,
    "flat": lambda rng, *shape: rng.normal(size=shape) * 0.02,
    "equal": lambda rng, *shape: np.full(shape, 1.5),
    "of few values": lambda rng, *shape: rng.integers(-2, 3, shape),
    "masked": lambda rng, *shape: np.where(rng.random(shape) < 0.9, -np.inf, rng.random(shape)),
    "huge": lambda rng, *shape: rng.normal(size=shape) * 1e37,
    "of all sizes": lambda rng, *shape: (
        rng.choice([-1, 1], shape) * 10 ** rng.uniform(-37, 38, shape)
    ),
}


def logits_of(shape, R, V, seed=0):
    return SHAPES[shape](np.random.default_rng(seed), R, V).astype(np.float32)


def no_history(V):
    return np.zeros((2, V), np.int16)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("R", "V"), [(1, 1000), (4, 4096), (5, 5003)])
def test_kernels_draw_what_the_definition_draws(shape, R, V):
    logits = logits_of(shape, R, V)
    history = np.random.default_rng(1).integers(0, 9, (3, V)).astype(np.int16)
    penalties = [
        {},
        {"frequency_penalty": 0.3, "presence_penalty": -0.5, "repetition_penalty": 1.3},
    ]
    cuts = itertools.product((-1, 1, 7, V), (1.0, 1e-6, 0.35, 0.9), (0.0, 0.02, 1.0), penalties)
    for i, (top_k, top_p, min_p, more) in enumerate(cuts):
        draws = draws_of(
            R,
            seeds=np.arange(R) + 77 * i,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            temperature=(0.6, 1.0, 0.0, 20.0)[i % 4],
            **more,
        )
        found, expected = by_kernel(logits, history, draws), by_definition(logits, history, draws)
        assert found.tolist() == expected.tolist(), (top_k, top_p, min_p, more)


@BOTH
@given(
    values=st.lists(
        st.one_of(
            st.integers(-4, 4), st.floats(-30, 30, width=32), st.sampled_from([-np.inf, 1e30])
        ),
        min_size=37,
        max_size=37,
    ),
    temperature=st.floats(0.0625, 5, width=32),
    top_k=st.one_of(st.just(-1), st.integers(1, 40)),
    top_p=st.one_of(st.just(1.0), st.floats(2**-20, 1, width=32)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1, width=32)),
)
def test_only_candidates_are_drawn(draw, values, temperature, top_k, top_p, min_p):
    logits = np.array(values, np.float32)
    if np.isneginf(logits).all():
        logits[3] = 0
    cuts = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    _, may_be = candidates(logits, **cuts)
    draws = draws_of(16, **cuts)
    tokens = np.asarray(draw(np.tile(logits, (16, 1)), no_history(37), draws))
    assert may_be[tokens].all()


@given(
    shape=st.sampled_from(["like a model's", "peaked", "flat", "equal", "of few values", "masked"]),
    seed=st.integers(0, 2**31),
    temperature=st.floats(0.0625, 5, width=32),
    top_k=st.one_of(st.just(-1), st.integers(1, 1200)),
    top_p=st.one_of(st.just(1.0), st.floats(2**-20, 1, width=32)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1, width=32)),
)
def test_candidates_are_those_of_float64(shape, seed, temperature, top_k, top_p, min_p):
    logits = logits_of(shape, 1, 1000, seed)
    cuts = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    rules = Rules(*(field[:, None] for field in rules_of(draws_of(1, **cuts))))
    found = np.asarray(find_candidates(logits, rules))[0]
    must_be, may_be = candidates(logits[0], **cuts)
    assert found[must_be].all()
    assert not found[~may_be].any()


@jax.jit
def find_candidates(logits, rules):
    depths = (logits.max(axis=-1, keepdims=True) - logits) * rules.rate
    return reference.candidates(depths, rules)


@BOTH
@pytest.mark.parametrize(
    "cuts",
    [
        {},
        {"temperature": 0.7, "top_p": 0.8},
        {"temperature": 1.5, "top_k": 12},
        {"min_p": 0.05, "top_k": 30, "top_p": 0.95},
    ],
    ids=str,
)
def test_candidates_are_drawn_as_often_as_they_are_likely(draw, cuts):
    R, V = 4000, 50
    logits = logits_of("like a model's", 1, V, seed=4)[0] / 2
    is_in, may_be = candidates(logits, **cuts)
    assert (is_in == may_be).all()
    shares = np.where(is_in, np.exp(logits.astype(np.float64) / cuts.get("temperature", 1)), 0)
    shares /= shares.sum()
    drawn = draw(np.tile(logits, (R, 1)), no_history(V), draws_of(R, seeds=11, **cuts))
    counts = np.bincount(np.asarray(drawn), minlength=V)
    assert (counts[~is_in] == 0).all()
    is_common = shares * R >= 5
    common, rest = counts[is_common], counts[is_in & ~is_common].sum()
    found = np.append(common, rest)
    expected = np.append(shares[is_common], shares[~is_common].sum()) * R
    found, expected = found[expected > 0], expected[expected > 0]
    chi_square = ((found - expected) ** 2 / expected).sum()
    freedom = len(found) - 1
    assert chi_square < freedom + 3.1 * np.sqrt(2 * freedom) + 4  # less than once in a thousand


@BOTH
def test_a_draw_depends_on_seed_and_position_and_not_on_the_batch(draw):
    V = 5003
    logits = logits_of("like a model's", 5, V)
    draws = draws_of(5, seeds=[1, -2, 3, 2**31 - 1, 0], top_p=[1, 0.5, 0.9, 0.2, 1], top_k=100)
    together = draw(logits, no_history(V), draws)
    for i, expected in enumerate(together.tolist()):
        row = slice(i, i + 1)
        alone = draw(logits[row], no_history(V), Draws(*(field[row] for field in draws)))
        assert alone.tolist() == [expected]


@BOTH
def test_different_seeds_and_positions_draw_differently(draw):
    logits = np.tile(logits_of("like a model's", 1, 1000), (64, 1))
    for vary in ("seeds", "positions"):
        given = {"seeds": 1, "positions": 1, "temperature": 3.0} | {vary: np.arange(64)}
        assert len(set(draw(logits, no_history(1000), draws_of(64, **given)).tolist())) > 40


@BOTH
def test_of_equals_the_first_is_the_likeliest(draw):
    logits = np.zeros((3, 5003), np.float32)
    logits[0, [4999, 4100, 1030, 7]] = 2.0  # in two blocks, and in parts and lanes of one
    logits[1, [4999, 4100, 1030]] = 2.0
    logits[2, [4999, 4100]] = 2.0
    drawn = draw(logits, no_history(5003), draws_of(3, temperature=0.0))
    assert drawn.tolist() == [7, 1030, 4100]


@BOTH
def test_greedy_rows_tell_logits_apart_that_chance_could_not(draw):
    logits = np.zeros((1, 1000), np.float32)
    logits[0, 600] = 1e-20
    assert draw(logits, no_history(1000), draws_of(1, temperature=0.0)).tolist() == [600]


@BOTH
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_rows_without_sound_logits_draw_minus_one_and_leave_others_alone(draw, poison):
    logits = logits_of("like a model's", 4, 5003)
    logits[1, 4500] = poison
    logits[2] = -np.inf
    history = np.ones((4, 5003), np.int16)
    draws = draws_of(4, top_p=0.9, top_k=50, repetition_penalty=1.2)
    drawn = draw(logits, history, draws).tolist()
    assert drawn[1:3] == [-1, -1]
    assert drawn[0] >= 0 and drawn[3] >= 0


@BOTH
def test_penalties_follow_the_history_of_the_slot(draw):
    logits = np.zeros((3, 1000), np.float32)
    logits[:, 5], logits[:, 900] = 4.0, 3.0
    history = np.zeros((2, 1000), np.int16)
    history[1, 5] = 1 + 2 * 3
    draws = draws_of(3, slots=[0, 1, 2], temperature=0.0, frequency_penalty=0.4)
    assert draw(logits, history, draws).tolist() == [5, 900, 5]  # slot 2 is past the end


def test_penalties_are_repetition_then_frequency_and_presence():
    logits, history = jnp.float32([2.0, -2.0, 2.0, -2.0, 1.0]), jnp.int16([0, 1, 4, 5, 2])
    draws = draws_of(1, frequency_penalty=0.25, presence_penalty=0.5, repetition_penalty=1.25)
    found = penalised(logits, history, rules_of(draws))
    expected = [2.0, -2.0 * 1.25, 2.0 / 1.25 - 1, -2.0 * 1.25 - 1, 1 / 1.25 - 0.75]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_unknown_implementation_is_named():
    draw = functools.partial(draw_tokens, implementation="fast")
    with pytest.raises(ValueError, match="draw_tokens has no implementation 'fast'"):
        draw(jnp.zeros((1, 8)), jnp.zeros((1, 8), jnp.int16), draws_of(1))

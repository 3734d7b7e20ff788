import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.engine import sampler
from sgjax.engine.sample_step import SAMPLE_FLOATS, sample_layout
from sgjax.engine.sampler import Variant
from sgjax.sharding.mesh import Placement, make_mesh

V, SLOTS = 50, 4
NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "targets": -1}

run = jax.jit(sampler.sample, static_argnames=("variant", "placement"))


def vector_of(rows):
    """The sampler's vector for rows given as dicts; what a row leaves out is neutral."""
    layout = sample_layout(len(rows))
    vector = np.zeros(layout.size, np.int32)
    for name, part in layout.split(vector).items():
        values = [{"slots": i % SLOTS, **NEUTRAL, **row}.get(name, 0) for i, row in enumerate(rows)]
        kind = np.float32 if name in SAMPLE_FLOATS else np.int32
        part[:] = np.array(values, kind).view(np.int32)
    return vector


def sample(logits, rows, *, variant=Variant.GENERAL, seen=None, num_devices=1):
    seen = np.zeros((SLOTS, V), np.int16) if seen is None else seen
    logits = np.asarray(logits, np.float32)
    last = np.full(SLOTS, 7, np.int32)
    vector = vector_of(rows)
    with_state = functools.partial(run, logits, last, seen, vector)
    return with_state(variant=variant, placement=Placement(make_mesh(num_devices)))


def draws(logits, count, **row):
    """`count` tokens drawn from one distribution, at positions of their own."""
    rows = [{"slots": SLOTS, "positions": i, "seeds": 3, **row} for i in range(count)]
    tokens, _, _ = sample(np.tile(logits, (count, 1)), rows)
    return np.asarray(tokens)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=V).astype(np.float32) * 2


def probs_of(logits, temperature=1.0):
    x = np.exp((logits - logits.max()) / temperature, dtype=np.float64)
    return x / x.sum()


def test_temperature_zero_is_the_likeliest_token_in_every_variant(logits):
    for variant in Variant:
        tokens, last, _ = sample(logits[None], [{"temperature": 0.0}], variant=variant)
        assert tokens.tolist() == [logits.argmax()]
        assert last.tolist() == [logits.argmax(), 7, 7, 7]


def test_tokens_are_drawn_as_often_as_they_are_likely(logits):
    for temperature in (0.7, 1.0, 1.5):
        tokens = draws(logits, 4000, temperature=temperature)
        found = np.bincount(tokens, minlength=V) / len(tokens)
        assert np.abs(found - probs_of(logits, temperature)).max() < 0.03


@pytest.mark.parametrize("k", [1, 3, 49, 50, 10**9])
def test_top_k_leaves_the_k_likeliest(logits, k):
    tokens = draws(logits, 2000, top_k=k, temperature=5.0)
    assert set(tokens) == set(np.argsort(-logits)[:k])


@pytest.mark.parametrize("p", [1e-6, 0.3, 0.9])
def test_top_p_leaves_the_smallest_set_that_reaches_it(logits, p):
    order = np.argsort(-logits)
    count = int((np.cumsum(probs_of(logits)[order]) < p).sum()) + 1
    tokens = draws(logits, 4000, top_p=p)
    assert set(tokens) <= set(order[:count])
    assert len(set(tokens)) >= min(count, 8)


def test_min_p_drops_what_is_much_less_likely_than_the_likeliest(logits):
    allowed = set(np.flatnonzero(probs_of(logits) >= 0.2 * probs_of(logits).max()))
    assert set(draws(logits, 2000, min_p=0.2)) == allowed


def test_the_narrowest_of_all_cuts_decides(logits):
    tokens = draws(logits, 1000, top_k=10, top_p=0.99, min_p=0.9999)
    assert set(tokens) == {logits.argmax()}


def test_a_draw_depends_on_seed_and_position_and_on_nothing_else(logits):
    row = {"seeds": 11, "positions": 5, "temperature": 2.0}
    other = {"seeds": 1, "positions": 2, "temperature": 0.5, "top_k": 3}
    noise = np.random.default_rng(1).normal(size=V)
    alone, _, _ = sample(logits[None], [row])
    among, _, _ = sample([noise, logits, -noise], [other, row, other])
    assert alone[0] == among[1]
    many = draws(logits, 100, temperature=2.0)
    assert len(set(many)) > 10


def test_penalties_follow_what_was_seen(logits):
    seen = np.zeros((SLOTS, V), np.int16)
    seen[2, 4], seen[2, 5], seen[2, 6] = 1, 2 * 3, 2 * 2 + 1  # prompt; 3 times; prompt and twice
    row = {
        "slots": 2,
        "frequency_penalty": 0.25,
        "presence_penalty": 0.5,
        "repetition_penalty": 1.5,
        "temperature": 0.0,
    }
    expected = logits.astype(np.float64)
    for token, count in ((4, 0), (5, 3), (6, 2)):
        x = expected[token]
        expected[token] = (x / 1.5 if x > 0 else x * 1.5) - 0.25 * count - 0.5 * (count > 0)
    tokens, _, seen_after = sample(logits[None], [row], seen=seen)
    token = int(tokens[0])
    assert token == expected.argmax()
    assert int(seen_after[2, token]) == int(seen[2, token]) + 2
    assert (np.asarray(seen_after) != seen).sum() == 1


def test_two_devices_draw_what_one_does(logits):
    rows = [{"positions": i, "top_p": 0.7, "temperature": 2.0} for i in range(3)]
    one, two = (sample(np.tile(logits, (3, 1)), rows, num_devices=n) for n in (1, 2))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.array_equal(a, b)


def test_counts_saturate_instead_of_turning_negative(logits):
    seen = np.full((SLOTS, V), 2 * (2**14 - 2) + 1, np.int16)
    _, _, after = sample(logits[None], [{"temperature": 0.0}], seen=seen)
    assert (np.asarray(after) == seen).all()


@pytest.mark.parametrize("variant", list(Variant))
def test_a_known_target_is_not_drawn_over_and_not_counted(logits, variant):
    rows = [{"targets": 9, "slots": SLOTS}, {"temperature": 0.0}]
    tokens, last, seen = sample(np.tile(logits, (2, 1)), rows, variant=variant)
    assert tokens.tolist() == [9, logits.argmax()]
    assert np.asarray(seen).sum() == (2 if variant is Variant.GENERAL else 0)
    assert last.tolist() == [7, logits.argmax(), 7, 7]


def test_logprobs_are_of_the_tokens_and_of_the_likeliest(logits):
    found = sampler.logprobs_of(jnp.asarray(np.tile(logits, (2, 1))), jnp.array([8, -1]))
    expected = np.log(probs_of(logits))
    np.testing.assert_allclose(found.of_token, expected[[8, 0]], rtol=1e-5)
    order = np.argsort(-expected)[:20]
    assert found.top_ids.tolist() == [order.tolist()] * 2
    np.testing.assert_allclose(found.top, [expected[order]] * 2, rtol=1e-5)


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_unsound_logits_give_token_minus_one_and_leave_other_rows_alone(logits, variant, poison):
    bad = logits.copy()
    bad[3] = poison
    rows = [{"temperature": 0.0}, {"temperature": 0.0}]
    tokens, _, _ = sample([bad, logits], rows, variant=variant)
    assert tokens.tolist() == [-1, logits.argmax()]


def test_bias_is_added_to_single_logits_and_padding_is_dropped(logits):
    found = sampler.add_bias(
        jnp.asarray(np.tile(logits, (2, 1))),
        jnp.array([1, 1, 2]),
        jnp.array([4, 6, 5]),
        jnp.array([1.5, -np.inf, 9.0], jnp.float32),
    )
    assert np.array_equal(found[0], logits)
    assert found[1, 4] == logits[4] + 1.5
    assert found[1, 6] == -np.inf
    assert np.array_equal(np.delete(found[1], [4, 6]), np.delete(logits, [4, 6]))


def test_history_is_replaced_piece_by_piece():
    seen = jnp.ones((SLOTS, V), jnp.int16)
    restart = functools.partial(sampler.restart_seen, slot=jnp.int32(1))
    first = jnp.array([3, 5, V])
    seen = restart(seen, is_first=jnp.bool_(True), tokens=first, values=jnp.int16([1, 4, 9]))
    seen = restart(
        seen, is_first=jnp.bool_(False), tokens=jnp.array([6, V, V]), values=jnp.int16([2, 9, 9])
    )
    expected = np.zeros(V)
    expected[[3, 5, 6]] = 1, 4, 2
    assert np.array_equal(seen[1], expected)
    assert (np.asarray(seen)[[0, 2, 3]] == 1).all()

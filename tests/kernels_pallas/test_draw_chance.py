"""The random numbers behind drawn tokens: known answers, and what chance should look like."""

import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.draw_tokens import chance, reference
from sgjax.kernels_pallas.draw_tokens.rules import rules_of
from tests.kernels_pallas.draws import draws_of

# From the known answers of Random123, for ten rounds.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text):
    return [jnp.uint32(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize("is_unrolled", [True, False])
@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_bits_are_those_of_philox(counter, key, expected, is_unrolled):
    found = chance.philox(words(counter), words(key), is_unrolled=is_unrolled)
    assert [f"{int(word):08x}" for word in found] == expected.split()


def times(seeds, positions, num_tokens):
    draws = draws_of(len(seeds), seeds=seeds, positions=positions)
    return np.asarray(reference.row_times(rules_of(draws), num_tokens), np.float64)


def test_a_token_has_its_word_whatever_the_size_of_the_vocabulary():
    small, large = times([5], [9], 70), times([5], [9], 2 * chance.BLOCK + 3)
    assert (small == large[:, :70]).all()
    key = jnp.uint32(5), jnp.uint32(9)
    for token, call, word in ((0, 0, 0), (1023, 1023, 0), (1024, 0, 1), (4095, 1023, 3)):
        for block in (0, 1):
            counter = jnp.uint32(block * chance.LANES + call), *words("0 0 0")
            expected = chance.exponential(chance.philox(counter, key)[word])
            assert large[0, block * chance.BLOCK + token] == np.float64(expected)


def test_times_are_finite_and_above_zero_for_every_word():
    edges = np.array([0, 1, 2**31, 2**32 - 257, 2**32 - 1], np.uint32)
    found = np.asarray(chance.exponential(jnp.asarray(edges)), np.float64)
    np.testing.assert_allclose(
        found[:3], -np.log1p(-(edges[:3].astype(float) + 0.5) * 2**-32), rtol=1e-6
    )
    assert (np.diff(found) >= 0).all() and found[0] > 0 and found[-1] < 17


@pytest.mark.parametrize("vary", ["tokens", "positions", "seeds"])
def test_times_are_exponential_and_do_not_know_their_neighbours(vary):
    """Along each of the axes: the Kolmogorov distance, and the correlation of neighbours."""
    n = 2**16
    if vary == "tokens":
        found = times([-7], [1000], n)[0]
    else:
        many, one = jnp.arange(n), jnp.full(n, 12)
        rows = (many, one) if vary == "seeds" else (one, many)
        found = np.asarray(chance.block_times(*rows, jnp.zeros(n, jnp.int32))[0], np.float64)
    uniform = -np.expm1(-found)
    distance = np.abs(np.sort(uniform) - (np.arange(n) + 0.5) / n).max()
    assert distance < 1.95 / np.sqrt(n)  # exceeded once in a thousand times
    for step in (1, 2, 1024):
        correlation = np.corrcoef(uniform[:-step], uniform[step:])[0, 1]
        assert abs(correlation) < 3.3 / np.sqrt(n)


def test_pairs_of_neighbours_fill_the_square_evenly():
    uniform = -np.expm1(-times([1, 2, 3], [4, 5, 6], 2**16).reshape(-1, 2))
    cells = (uniform * 16).astype(int)
    counts = np.bincount(cells[:, 0] * 16 + cells[:, 1], minlength=256)
    expected = len(cells) / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 190 < chi_square < 331  # 255 degrees of freedom: 0.1 % on either side

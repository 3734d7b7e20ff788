"""Factors of queries, against the definition in float64."""

import jax.numpy as jnp
import numpy as np

from sgjax.layers.query_scale import QueryScale


def test_factors_rise_with_each_interval_up_to_the_longest_context():
    positions = np.array([0, 8190, 8191, 16382, 16383, 1_048_575, 10_485_759], np.int32)
    found = QueryScale(interval=8192, strength=0.1).factors(jnp.asarray(positions))
    expected = 1 + 0.1 * np.log1p(np.floor((positions + 1.0) / 8192))
    assert expected[1] == 1 < expected[2] == expected[3] < expected[4]
    np.testing.assert_allclose(found, expected, rtol=1e-6)

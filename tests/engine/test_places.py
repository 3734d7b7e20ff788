"""Places for small arrays: what is kept, and what is left between."""

import jax
from jax.sharding import SingleDeviceSharding

from sgjax.engine.places import NUM_PLACES, make_places


def test_half_of_the_pieces_are_kept():
    before = {id(array) for array in jax.live_arrays()}
    kept = make_places(1024, SingleDeviceSharding(jax.devices()[0]))
    new = [array for array in jax.live_arrays() if id(array) not in before]
    assert {id(array) for array in new} == {id(array) for array in kept}
    assert [array.shape for array in kept] == [(1024,)] * NUM_PLACES

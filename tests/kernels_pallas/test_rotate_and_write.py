import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.rotate_and_write import reference, rotate_and_write, triton

SLOTS = 12


def inputs(T, heads, half, dtype):
    """A step whose second token is padding: its slot is past the end."""
    K, G, H = heads
    keys = iter(jax.random.split(jax.random.key(T + 7 * H), 8))

    def draw(*shape, dtype=dtype):
        return jax.random.normal(next(keys), shape).astype(dtype)

    slots = jax.random.permutation(next(keys), SLOTS)[:T].astype(jnp.int32)
    slots = slots.at[1:2].set(SLOTS)
    angles = 6 * draw(T, half, dtype=jnp.float32)
    arrays = draw(T, K, G + 2, H), jnp.cos(angles), jnp.sin(angles)
    caches = draw(SLOTS, K, H), draw(SLOTS, K, H)
    return (*arrays, *caches, slots), (1 + 0.3 * draw(H), 1 + 0.3 * draw(H))


CASES = {
    "grouped": (5, (2, 4, 16), 8),
    "one token": (1, (2, 1, 16), 8),
    "a part of the head turns": (4, (1, 3, 24), 5),
    "odd sizes": (3, (3, 2, 20), 10),
}


@pytest.mark.parametrize("few_tokens", [256, 2], ids=["a token a program", "some"])
@pytest.mark.parametrize("is_normed", [False, True], ids=["plain", "normed"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_kernel_equals_the_definition(case, dtype, is_normed, few_tokens, monkeypatch):
    monkeypatch.setattr(triton, "_FEW_TOKENS", few_tokens)
    arrays, norms = inputs(*case, dtype)
    options = {"norms": norms if is_normed else None, "eps": 1e-5}
    found = triton.rotate_and_write(*arrays, **options, interpret=True)
    wanted = reference.rotate_and_write(*arrays, **options)
    tolerance = 2e-6 if dtype == jnp.float32 else 2**-6
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(
            np.asarray(one, np.float32), np.asarray(other, np.float32), tolerance, tolerance
        )


def test_only_the_named_slots_change():
    arrays, _ = inputs(5, (2, 4, 16), 8, jnp.float32)
    slots = np.asarray(arrays[5])
    untouched = np.setdiff1d(np.arange(SLOTS), slots)
    found = triton.rotate_and_write(*arrays, norms=None, eps=0.0, interpret=True)
    for before, after in zip(arrays[3:5], found[1:], strict=True):
        np.testing.assert_array_equal(before[untouched], after[untouched])
        assert (np.asarray(before != after).any((1, 2)) == np.isin(np.arange(SLOTS), slots)).all()


def test_a_token_at_position_zero_is_not_turned_and_its_value_is_kept():
    arrays, _ = inputs(3, (2, 4, 16), 8, jnp.float32)
    qkv, _, _, k, v, slots = arrays
    still = jnp.ones((3, 8)), jnp.zeros((3, 8))
    q, k, v = rotate_and_write(qkv, *still, k, v, slots, implementation="reference")
    np.testing.assert_array_equal(q, qkv[:, :, :4])
    np.testing.assert_array_equal(k[slots[0]], qkv[0, :, 4])
    np.testing.assert_array_equal(v[slots[2]], qkv[2, :, 5])

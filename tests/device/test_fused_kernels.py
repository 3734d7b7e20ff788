"""On a GPU: the small kernels equal their definitions.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_fused_kernels.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.add_rms_norm import add_rms_norm
from sgjax.kernels_pallas.rotate_and_write import rotate_and_write

pytestmark = pytest.mark.device
STEPS = (1, 64, 8192)
TWO_ROUNDINGS = 2 * 2**-7


def both(op, *arrays, **options):
    """The results of the kernel and of the definition."""
    return [
        jax.jit(lambda *a, name=name: op(*a, **options, implementation=name))(*arrays)
        for name in ("triton", "reference")
    ]


def assert_close(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(
            np.asarray(one, np.float32),
            np.asarray(other, np.float32),
            rtol=TWO_ROUNDINGS,
            atol=TWO_ROUNDINGS,
        )


def draw(seed, *shape, dtype=jnp.bfloat16):
    return jax.random.normal(jax.random.key(seed), shape).astype(dtype)


@pytest.mark.parametrize("T", STEPS)
@pytest.mark.parametrize("D", [1024, 4096, 5120])
def test_add_rms_norm(T, D):
    found, wanted = both(add_rms_norm, draw(T, T, D), draw(D, T, D), 1 + draw(1, D), eps=1e-5)
    assert_close(found, wanted)
    np.testing.assert_array_equal(*(np.asarray(x[0], np.float32) for x in (found, wanted)))


@pytest.mark.parametrize("is_normed", [False, True], ids=["plain", "normed"])
@pytest.mark.parametrize("heads", [(8, 4, 128), (8, 2, 128), (2, 7, 64)])
@pytest.mark.parametrize("T", STEPS)
def test_rotate_and_write(T, heads, is_normed):
    K, G, H = heads
    angles = 3 * draw(2, T, H // 2, dtype=jnp.float32)
    caches = draw(3, 2 * T + 8, K, H), draw(4, 2 * T + 8, K, H)
    slots = jax.random.permutation(jax.random.key(5), 2 * T + 8)[:T].astype(jnp.int32)
    slots = slots.at[T // 2 :: 7].set(2 * T + 8)
    found, wanted = both(
        rotate_and_write,
        draw(1, T, K, G + 2, H),
        jnp.cos(angles),
        jnp.sin(angles),
        *caches,
        slots,
        norms=(1 + draw(6, H), 1 + draw(7, H)) if is_normed else None,
        eps=1e-6,
    )
    assert_close(found, wanted)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.add_rms_norm import add_rms_norm, reference, triton


def inputs(T, D, dtype):
    keys = jax.random.split(jax.random.key(T * D), 3)
    x, delta = (3 * jax.random.normal(key, (T, D)) for key in keys[:2])
    scale = 1 + 0.3 * jax.random.normal(keys[2], (D,))
    return x.astype(dtype), delta.astype(dtype), scale.astype(dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("T", "D"), [(1, 64), (3, 96), (5, 640)])
def test_the_kernel_equals_the_definition(T, D, dtype):
    arrays = inputs(T, D, dtype)
    found = triton.add_rms_norm(*arrays, eps=1e-5, interpret=True)
    wanted = reference.add_rms_norm(*arrays, eps=1e-5)
    np.testing.assert_array_equal(*(np.asarray(x[0], np.float32) for x in (found, wanted)))
    # Sums in another order may move each of the two roundings by one unit in the last place.
    tolerance = 1e-6 if dtype == jnp.float32 else 2 * 2**-7
    np.testing.assert_allclose(
        *(np.asarray(x[1], np.float32) for x in (found, wanted)), rtol=tolerance, atol=1e-6
    )


def test_the_definition_is_that_of_the_paper():
    x, delta, scale = inputs(4, 6, jnp.float32)
    total, normed = add_rms_norm(x, delta, scale, eps=0.01, implementation="reference")
    plain = np.asarray(x, np.float64) + np.asarray(delta, np.float64)
    wanted = plain / np.sqrt((plain**2).mean(-1, keepdims=True) + 0.01) * np.asarray(scale)
    np.testing.assert_allclose(total, plain, rtol=1e-6)
    np.testing.assert_allclose(normed, wanted, rtol=1e-5)


def test_an_unknown_implementation_is_named():
    with pytest.raises(ValueError, match="add_rms_norm has no implementation 'fast'"):
        add_rms_norm(*inputs(1, 4, jnp.float32), eps=0.1, implementation="fast")

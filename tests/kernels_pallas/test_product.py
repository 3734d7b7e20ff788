import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.product import (
    MOST_ROWS,
    normed_product,
    product,
    reference,
    triton,
    triton_few,
)
from sgjax.kernels_pallas.product.triton_tiles import Sizes

EPS = 1e-5
ULP = {jnp.bfloat16: 2**-8, jnp.float16: 2**-11, jnp.float32: 2**-24}
"""How far rounding to a dtype moves a number, relatively."""
SHAPES = [
    ("plain", (128, 64)),
    ("plain", (300, 3, 5)),
    ("plain", (50, 2, 3, 8)),
    ("gated", (256, 2, 64)),
    ("gated", (200, 2, 40)),
    ("logits", (64, 256)),
    ("logits", (70, 300)),
]
CASES = pytest.mark.parametrize(("form", "shape"), SHAPES)


def draw(seed, *shape, dtype, spread=1.0):
    return (spread * jax.random.normal(jax.random.key(seed), shape)).astype(dtype)


def inputs(form, shape, T, dtype):
    """x, w, and a bias where there may be one."""
    width = shape[1] if form == "logits" else shape[0]
    bias = None if form == "logits" else draw(3, *shape[1:], dtype=dtype)
    return draw(1, T, width, dtype=dtype), draw(2, *shape, dtype=dtype, spread=0.2), bias


def norm_inputs(x):
    return draw(4, *x.shape, dtype=x.dtype), 1 + draw(5, x.shape[1], dtype=x.dtype, spread=0.4)


def exact(*arrays):
    return [None if x is None else np.asarray(x, np.float64) for x in arrays]


def assert_equal_but_for_roundings(found, wanted, number):
    """So many roundings of values as large as these, which may each go the other way."""
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    tolerance = number * 2 * ULP[found.dtype.type]
    np.testing.assert_allclose(
        np.asarray(found, np.float32), np.asarray(wanted, np.float32), rtol=tolerance, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("T", [1, 3, MOST_ROWS])
@CASES
def test_the_kernel_equals_the_definition(form, shape, T, dtype):
    x, w, _ = inputs(form, shape, T, dtype)
    found = triton.product(x, w, None, form=form, interpret=True)
    wanted = reference.product(x, w, None, form=form)
    assert_equal_but_for_roundings(found, wanted, {"plain": 1, "gated": 4, "logits": 64}[form])


@pytest.mark.parametrize("T", [1, 2, 8])
@pytest.mark.parametrize("columns", [16, 64])
@pytest.mark.parametrize(("depth", "width"), [(16, 8), (64, 32), (512, 16)])
def test_the_result_does_not_depend_on_how_the_work_is_cut(T, columns, depth, width):
    x, w, _ = inputs("plain", (400, 72), T, jnp.float16)
    sizes = Sizes(columns=columns, depth=depth, width=width)
    found = triton_few.product(x, w, None, form="plain", sizes=sizes, interpret=True)
    wanted = reference.product(x, w, None, form="plain")
    assert_equal_but_for_roundings(found, wanted, 1)


@pytest.mark.parametrize(("form", "shape"), [x for x in SHAPES if x[0] != "logits"])
def test_a_bias_is_added_before_the_gate(form, shape):
    x, w, bias = inputs(form, shape, 2, jnp.float16)
    found = triton.product(x, w, bias, form=form, interpret=True)
    x, w, bias = exact(x, w, bias)
    sums = np.tensordot(x, w, 1) + bias
    wanted = sums if form == "plain" else sums[:, 0] / (1 + np.exp(-sums[:, 0])) * sums[:, 1]
    np.testing.assert_allclose(np.asarray(found, np.float64), wanted, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("T", [1, 3, 5])
@CASES
def test_the_kernel_adds_and_norms_what_it_multiplies(form, shape, T, dtype):
    x, w, bias = inputs(form, shape, T, dtype)
    delta, scale = norm_inputs(x)
    options = {"eps": EPS, "form": form}
    total, found = triton.normed_product(x, delta, scale, w, bias, **options, interpret=True)
    np.testing.assert_array_equal(*(np.asarray(y, np.float32) for y in (total, x + delta)))
    total, scale, w, bias = exact(total, scale, w, bias)
    normed = total / np.sqrt((total**2).mean(-1, keepdims=True) + EPS) * scale
    w = w.T if form == "logits" else w
    wanted = np.tensordot(normed, w, 1) + (0 if bias is None else bias)
    bound = ULP[dtype] * (2 * np.tensordot(abs(normed), abs(w), 1) + 2 * abs(wanted) + 4)
    if form == "gated":  # silu's slope is 1.1 at most
        (gate, up), (gate_bound, up_bound) = wanted.swapaxes(0, 1), bound.swapaxes(0, 1)
        gate = gate / (1 + np.exp(-gate))
        wanted = gate * up
        bound = 1.1 * gate_bound * (abs(up) + up_bound) + abs(gate) * up_bound
        bound += 2 * ULP[dtype] * abs(wanted)
    assert (abs(np.asarray(found, np.float64) - wanted) <= bound).all()


def test_a_norm_survives_sums_that_float16_cannot_hold_after_the_scale():
    x, w = jnp.full((1, 64), 30000.0, jnp.float16), jnp.eye(64, dtype=jnp.float16)
    scale = jnp.full(64, 4.0, jnp.float16)
    _, y = triton.normed_product(
        x, jnp.zeros_like(x), scale, w, None, eps=1e-6, form="plain", interpret=True
    )
    np.testing.assert_array_equal(y, np.full((1, 64), 4.0))


@CASES
def test_the_definition_is_that_of_the_contract(form, shape):
    x, w, bias = inputs(form, shape, 3, jnp.float32)
    found = product(x, w, bias, form=form, implementation="reference")
    x, w, bias = exact(x, w, bias)
    if form == "logits":
        wanted = x @ w.T
    else:
        sums = np.tensordot(x, w, 1) + bias
        wanted = sums if form == "plain" else sums[:, 0] / (1 + np.exp(-sums[:, 0])) * sums[:, 1]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_definition_norms_the_sum():
    x, w, _ = inputs("plain", (64, 8), 3, jnp.float32)
    delta, scale = norm_inputs(x)
    options = {"eps": 0.01, "implementation": "reference"}
    total, found = normed_product(x, delta, scale, w, **options)
    x, delta, scale, w = exact(x, delta, scale, w)
    np.testing.assert_allclose(total, x + delta, rtol=1e-6)
    mean = ((x + delta) ** 2).mean(-1, keepdims=True)
    wanted = (x + delta) / np.sqrt(mean + 0.01) * scale @ w
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_sums_are_float32_and_the_result_has_the_dtype_of_the_rows():
    x, w = jnp.ones((1, 1024), jnp.bfloat16), jnp.ones((1024, 1), jnp.bfloat16)
    for y in (
        product(x, w, implementation="reference"),
        triton.product(x, w, None, form="plain", interpret=True),
    ):
        assert y.dtype == jnp.bfloat16
        assert y[0, 0] == 1024  # bfloat16 sums would stop at 256


def test_a_norm_survives_squares_that_float16_cannot_hold():
    x, w = jnp.full((1, 64), 1000.0, jnp.float16), jnp.eye(64, dtype=jnp.float16)
    given = x, jnp.zeros_like(x), jnp.ones(64, jnp.float16), w
    for y in (
        normed_product(*given, eps=1e-6, implementation="reference")[1],
        triton.normed_product(*given, None, eps=1e-6, form="plain", interpret=True)[1],
    ):
        assert y.dtype == jnp.float16
        np.testing.assert_array_equal(y, np.ones((1, 64)))


@pytest.mark.parametrize(
    ("T", "dtype", "num_kernels"),
    [(MOST_ROWS, jnp.bfloat16, 1), (MOST_ROWS + 1, jnp.bfloat16, 0), (1, jnp.float32, 0)],
)
def test_many_rows_and_float32_are_left_to_xla(T, dtype, num_kernels):
    x, w, _ = inputs("plain", (64, 32), T, dtype)
    op = jax.make_jaxpr(lambda x, w: product(x, w, implementation="triton"))
    assert str(op(x, w)).count("pallas_call") == num_kernels

"""On a GPU: products of few rows are exact but for the roundings that the contract names.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_products.py
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.product import cases, normed_product, product
from sgjax.kernels_pallas.product.cases import Case, make_inputs

pytestmark = pytest.mark.device

EPS = 1e-5
HALF_ULP = 2**-8
ODD = (
    Case("of sizes that nothing divides", "plain", 3, 4736, 1000),
    Case("of one narrow block", "plain", 1, 80, 48, normed=True),
    Case("of an odd width", "gated", 2, 896, 4864, normed=True),
    Case("of an odd vocabulary", "logits", 5, 300, 1001),
)


def found(case, inputs, implementation="triton"):
    def op(x, w, delta, scale):
        options = {"form": case.form, "implementation": implementation}
        if not case.normed:
            return product(x, w, **options)
        return normed_product(x, delta, scale, w, eps=EPS, **options)[1]

    return jax.jit(op)(inputs.x, inputs.w, inputs.delta, inputs.scale)


@functools.partial(jax.jit, static_argnums=0)
def exact_and_bound(case, inputs):
    """What float32 gives, and how far roundings to bfloat16 may go from it."""
    x, w = inputs.x, inputs.w.astype(jnp.float32)
    if case.normed:
        x = (x + inputs.delta).astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPS)
        x = x * inputs.scale.astype(jnp.float32)[None]
    x = x.astype(jnp.float32)
    side = 1 if case.form == "logits" else 0
    multiply = functools.partial(
        jax.lax.dot_general,
        dimension_numbers=(((1,), (side,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
    )
    y = multiply(x, w)
    bound = HALF_ULP * abs(y) + 1e-4
    if case.normed:
        bound += 2 * HALF_ULP * multiply(abs(x), abs(w))
    if case.form != "gated":
        return y, bound
    gate, up = jax.nn.silu(y[:, 0]), y[:, 1]
    # The slope of silu is 1.1 at most.
    more = 1.1 * bound[:, 0] * (abs(up) + bound[:, 1]) + abs(gate) * bound[:, 1]
    return gate * up, more + 2.1 * HALF_ULP * abs(gate * up)


REAL = [case for case in cases.REAL if case.T == 1 or (case.T == 4 and case.name[:4] == "0.6b")]
MANY = (
    Case("of a prompt", "gated", 1024, 4096, 14336),
    Case("of a normed prompt", "gated", 1024, 1024, 3072, normed=True),
    Case("of rows that fill no wave", "gated", 1152, 2048, 1408),
)


@pytest.mark.parametrize("case", [*REAL, *ODD, *MANY], ids=lambda case: case.name)
def test_a_product_is_exact_but_for_its_roundings(case):
    inputs = make_inputs(case, seed=case.T)
    y = np.asarray(found(case, inputs), np.float32)
    wanted, bound = (np.asarray(x) for x in exact_and_bound(case, inputs))
    assert np.isfinite(y).all()
    assert (abs(y - wanted) <= bound).all(), f"{(abs(y - wanted) / bound).max():.3g} x the bound"
    # The worst that roundings may do is far from what they do.
    assert np.linalg.norm(y - wanted) / np.linalg.norm(wanted) < 1e-2


@pytest.mark.parametrize(
    "case", [Case("few", "plain", 4, 14336, 4096), MANY[0]], ids=lambda case: case.name
)
def test_a_product_is_the_same_every_time(case):
    inputs = make_inputs(case, seed=0)
    first = np.asarray(found(case, inputs), np.float32)
    for _ in range(20):
        np.testing.assert_array_equal(np.asarray(found(case, inputs), np.float32), first)

"""On a GPU: mixtures of experts equal their definition but for roundings.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_mixtures.py
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.mixture_of_experts import cases, mixture_of_experts
from sgjax.kernels_pallas.mixture_of_experts.cases import Case, make_inputs

pytestmark = pytest.mark.device

BOUND = 8e-3
NARROW = Case("", 1, 16, 4, 1024, 512)
TOKENS = (1, 3, 16, 70, 200, 1000)


def error(case, dtype=jnp.bfloat16, seed=0):
    inputs = make_inputs(case, seed, dtype)
    found, wanted = (
        np.asarray(
            jax.jit(
                lambda *arrays, name=name: mixture_of_experts(
                    *arrays, activation=case.activation, implementation=name
                )
            )(inputs.x, inputs.ids, inputs.weights, inputs.experts),
            np.float32,
        )
        for name in ("triton", "reference")
    )
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


@pytest.mark.parametrize("case", cases.SMALL, ids=lambda case: case.name)
def test_odd_mixtures(case):
    assert error(case) < BOUND


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("routing", ["even", "uneven", "one", "elsewhere"])
@pytest.mark.parametrize("T", TOKENS)
def test_blocks_of_every_size_and_routing(T, routing, dtype):
    assert error(dataclasses.replace(NARROW, T=T, routing=routing), dtype, seed=T) < BOUND


@pytest.mark.parametrize("case", cases.REAL, ids=lambda case: case.name)
def test_mixtures_that_are_served(case):
    assert error(case) < BOUND


def test_the_result_is_the_same_in_every_run():
    inputs = make_inputs(dataclasses.replace(NARROW, T=300, routing="uneven"), 1)
    op = jax.jit(lambda *arrays: mixture_of_experts(*arrays, implementation="triton"))
    runs = [op(inputs.x, inputs.ids, inputs.weights, inputs.experts) for _ in range(5)]
    for run in runs[1:]:
        np.testing.assert_array_equal(*(np.asarray(y, np.float32) for y in (run, runs[0])))

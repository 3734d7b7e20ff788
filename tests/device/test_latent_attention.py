"""Latent attention on a GPU, against the reference on the same GPU.

Most of the time goes into tuning the reference's products: XLA_FLAGS=--xla_gpu_autotune_level=0.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.latent_attention import cases, latent_attention
from sgjax.kernels_pallas.latent_attention.cases import Case, deepseek, make_inputs

pytestmark = pytest.mark.device

HEADS = tuple(
    Case(
        f"{heads} heads, latents of {value_size} + {turned}, pages of {page_size}",
        (1, 700, 64),
        ((0, 70), (300, 200), (7, 1)),
        S=8,
        T=300,
        heads=heads,
        value_size=value_size,
        turned=turned,
        page_size=page_size,
    )
    for heads, value_size, turned, page_size in (
        (16, 512, 64, 16),
        (128, 512, 64, 64),
        (20, 512, 64, 1),
        (1, 512, 64, 16),
        (40, 256, 32, 16),
        (8, 192, 48, 16),
    )
)


def relative_error(case: Case, dtype, seed: int) -> float:
    """Of the kernels against the reference, over all elements; NaN where one was not written."""
    inputs = make_inputs(case, seed, dtype)
    out, expected = (
        np.asarray(
            jax.jit(
                functools.partial(latent_attention, implementation=implementation, **case.static)
            )(inputs.q, inputs.latents, inputs.rows),
            np.float64,
        )
        for implementation in ("triton", "reference")
    )
    return float(np.linalg.norm(out - expected) / max(np.linalg.norm(expected), 1e-30))


@pytest.mark.parametrize("case", cases.SMALL, ids=lambda case: case.name)
def test_float32_equals_the_reference_closely(case):
    assert relative_error(case, jnp.float32, seed=1) < 2e-6


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("case", HEADS, ids=lambda case: case.name)
def test_any_number_of_heads_equals_the_reference_within_rounding(case, dtype):
    assert relative_error(case, dtype, seed=2) < (5e-3 if dtype == jnp.bfloat16 else 7e-4)


@pytest.mark.parametrize("case", cases.REAL, ids=lambda case: case.name)
def test_real_shapes_equal_the_reference_within_rounding(case):
    assert relative_error(case, jnp.bfloat16, seed=3) < 5e-3


def test_a_cache_of_more_than_four_gigabytes_is_addressed_right():
    case = deepseek("far", (3000, 17), ((100, 40),), heads=16)
    inputs = make_inputs(case, 4, jnp.bfloat16)
    slots, own = 4_000_000, inputs.latents.shape[0]
    moved = (slots - own) // case.page_size
    far = dataclasses.replace(inputs.rows, tables=inputs.rows.tables + moved)
    op = jax.jit(functools.partial(latent_attention, implementation="triton", **case.static))
    near = op(inputs.q, inputs.latents, inputs.rows)
    begin = moved * case.page_size
    latents = jnp.zeros((slots, case.size), jnp.bfloat16)
    latents = latents.at[begin : begin + own].set(inputs.latents)
    np.testing.assert_array_equal(op(inputs.q, latents, far), near)

"""The Triton kernels on a GPU, against the reference on the same GPU.

Most of the time goes into tuning the reference's products: XLA_FLAGS=--xla_gpu_autotune_level=0.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.ragged_paged_attention import cases, ragged_paged_attention
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case, make_inputs

pytestmark = pytest.mark.device

HEADS = tuple(
    Case(
        f"heads of {head}, {group} to a kv head",
        (1, 700, 64),
        ((0, 70), (300, 200), (7, 1)),
        S=8,
        T=300,
        group=group,
        head=head,
        page_size=page_size,
        window=window,
        soft_cap=soft_cap,
    )
    for head, group, page_size, window, soft_cap in (
        (64, 1, 1, None, None),
        (80, 3, 16, 90, None),
        (96, 5, 64, None, 5.0),
        (128, 7, 128, None, None),
        (192, 16, 16, 40, 5.0),
        (256, 2, 16, 512, None),
    )
)

CHUNKS = Case("in chunks", (1, 700, 64), ((0, 70), (300, 200)), T=300, group=5, head=128, chunk=90)

SHARED = tuple(
    Case(
        f"shared, heads of {head}, {group} to a kv head",
        (*range(401, 441), 70, 1000),
        groups=((37, 384), (3, 400)),
        S=48,
        group=group,
        head=head,
        page_size=page_size,
        soft_cap=soft_cap,
    )
    for head, group, page_size, soft_cap in (
        (64, 1, 1, None),
        (80, 3, 16, None),
        (96, 5, 8, 5.0),
        (128, 7, 16, None),
        (192, 16, 16, 5.0),
        (256, 2, 16, None),
    )
)


def relative_error(case: Case, dtype, seed: int) -> float:
    """Of the kernels against the reference, over all elements; NaN where one was not written."""
    inputs = make_inputs(case, seed, dtype)
    arrays = inputs.q, inputs.k, inputs.v, inputs.rows
    out, expected = (
        np.asarray(
            jax.jit(
                functools.partial(
                    ragged_paged_attention, implementation=implementation, **case.static
                )
            )(*arrays),
            np.float64,
        )
        for implementation in ("triton", "reference")
    )
    return float(np.linalg.norm(out - expected) / max(np.linalg.norm(expected), 1e-30))


@pytest.mark.parametrize("case", cases.SMALL, ids=lambda case: case.name)
def test_float32_equals_the_reference_closely(case):
    assert relative_error(case, jnp.float32, seed=1) < 2e-6


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("case", (*HEADS, CHUNKS, *SHARED), ids=lambda case: case.name)
def test_any_head_size_equals_the_reference_within_rounding(case, dtype):
    assert relative_error(case, dtype, seed=2) < (5e-3 if dtype == jnp.bfloat16 else 7e-4)


@pytest.mark.parametrize("case", cases.REAL, ids=lambda case: case.name)
def test_real_shapes_equal_the_reference_within_rounding(case):
    assert relative_error(case, jnp.bfloat16, seed=3) < 5e-3


def test_a_cache_of_more_than_four_gigabytes_is_addressed_right():
    case = Case("far", (3000, 17), ((100, 40),), kv_heads=8, head=128)
    inputs = make_inputs(case, 4, jnp.bfloat16)
    slots, own = 2_200_000, inputs.k.shape[0]
    moved = (slots - own) // case.page_size
    far = dataclasses.replace(inputs.rows, tables=inputs.rows.tables + moved)
    op = jax.jit(functools.partial(ragged_paged_attention, implementation="triton", **case.static))
    near = op(inputs.q, inputs.k, inputs.v, inputs.rows)
    k, v = (
        jnp.zeros((slots, *x.shape[1:]), x.dtype)
        .at[moved * case.page_size : moved * case.page_size + own]
        .set(x)
        for x in (inputs.k, inputs.v)
    )
    np.testing.assert_array_equal(op(inputs.q, k, v, far), near)

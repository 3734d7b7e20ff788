"""Latent attention: the reference against a dense oracle, the kernels against the reference.

Every unused slot of a case's cache holds NaN, so a test also fails where one is read.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.latent_attention import cases, latent_attention, triton, triton_runs
from sgjax.kernels_pallas.latent_attention.cases import Case, make_inputs
from sgjax.kernels_pallas.ragged_paged_attention import triton_block

every_small_case = pytest.mark.parametrize("case", cases.SMALL, ids=lambda case: case.name)


def oracle(case: Case, inputs: cases.Inputs) -> np.ndarray:
    """Softmax over each row's latents, all at once, in float64."""
    q, latents = (np.asarray(x, np.float64) for x in (inputs.q, inputs.latents))
    out, first = np.zeros((*q.shape[:2], case.value_size)), 0
    rows = case.paged
    for table, length, new in zip(
        np.asarray(inputs.rows.tables), rows.lengths, rows.num_tokens, strict=False
    ):
        at = np.arange(length)
        own = latents[table[at // case.page_size] * case.page_size + at % case.page_size]
        here = slice(first, first + new)
        scores = np.einsum("tnm,um->ntu", q[here], own) * case.size**-0.5
        p = np.where(at[length - new :, None] >= at[None, :], np.exp(scores), 0)
        values = own[:, : case.value_size]
        out[here] = np.einsum("ntu,ua->tna", p / p.sum(-1, keepdims=True), values)
        first += new
    return out


@functools.cache
def reference(case: Case) -> tuple[cases.Inputs, np.ndarray]:
    inputs = make_inputs(case, 0)
    op = jax.jit(functools.partial(latent_attention, implementation="reference", **case.static))
    return inputs, np.asarray(op(inputs.q, inputs.latents, inputs.rows))


@every_small_case
def test_the_reference_equals_a_dense_oracle(case):
    inputs, out = reference(case)
    np.testing.assert_allclose(out, oracle(case, inputs), rtol=1e-5, atol=2e-6)


@every_small_case
def test_the_triton_kernels_equal_the_reference(case):
    inputs, expected = reference(case)
    op = jax.jit(functools.partial(triton.latent_attention, interpret=True, **case.static))
    out = op(inputs.q, inputs.latents, inputs.rows)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("programs", [1, 1000])
@pytest.mark.parametrize("name", ["mixed", "decode, odd sizes", "extend after a prefix"])
def test_any_cut_of_the_work_equals_the_reference(name, programs):
    """One program for all of a row's cache, or so many that some have nothing to read."""
    case = next(case for case in cases.SMALL if case.name == name)
    inputs, expected = reference(case)
    options = triton_block.Options(case.page_size, case.size**-0.5, interpret=True)
    how = {
        "value_size": case.value_size,
        "options": options,
        "sizes": triton_runs.Sizes(rows=64, block=16, programs=programs),
    }

    @jax.jit
    def both(*arrays):
        result = None if case.only_decode else triton.extend(*arrays, **how)
        return triton.decode(*arrays, over=result, **how)

    out = both(inputs.q, inputs.latents, inputs.rows)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6)


def test_the_kernels_keep_bfloat16_within_its_rounding():
    case = Case("bfloat16", (70, 5), ((20, 40),), heads=16, value_size=64, turned=16)
    inputs = make_inputs(case, 0, jnp.bfloat16)
    op = functools.partial(triton.latent_attention, interpret=True, **case.static)
    out = jax.jit(op)(inputs.q, inputs.latents, inputs.rows)
    assert out.dtype == jnp.bfloat16
    expected = oracle(case, inputs)
    error = np.linalg.norm(np.asarray(out, np.float64) - expected) / np.linalg.norm(expected)
    assert error < 5e-3


def test_what_is_of_keys_alone_counts():
    case = Case("any", (40,), ((30, 20),))
    inputs, with_it = reference(case)
    latents = inputs.latents.at[:, case.value_size :].set(0)
    op = functools.partial(latent_attention, implementation="reference", **case.static)
    assert np.abs(op(inputs.q, latents, inputs.rows) - with_it).max() > 0.05


def test_few_runs_are_split_and_many_are_not():
    splits = functools.partial(triton_runs.num_splits, num_blocks=256, programs=264)
    assert [splits(runs) for runs in (1, 8, 16, 64, 128, 200, 1024)] == [32, 32, 16, 4, 2, 1, 1]


def test_decode_alone_with_fewer_tokens_than_rows_is_an_error():
    case = Case("any", (3, 4))
    inputs = make_inputs(case, 0)
    with pytest.raises(ValueError, match="1 tokens and 2 rows"):
        latent_attention(inputs.q[:1], inputs.latents, inputs.rows, **case.static)


def test_values_of_all_numbers_of_a_latent_are_an_error():
    case = Case("any", (3,))
    inputs = make_inputs(case, 0)
    with pytest.raises(ValueError, match="first 48 cannot be its values"):
        latent_attention(inputs.q, inputs.latents, inputs.rows, **case.static | {"value_size": 48})


def test_a_cache_of_another_dtype_than_q_is_an_error_of_the_kernels():
    case = Case("any", (3,))
    inputs = make_inputs(case, 0)
    with pytest.raises(TypeError, match="q is bfloat16, the cache float32"):
        q = inputs.q.astype(jnp.bfloat16)
        triton.latent_attention(q, inputs.latents, inputs.rows, **case.static)

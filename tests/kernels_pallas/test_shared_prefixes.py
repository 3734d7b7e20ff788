"""Decode over shared prefixes, in the kernels: as without sharing, but read once for many rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgjax.kernels_pallas.ragged_paged_attention import (
    RaggedRows,
    SharedPrefixes,
    cases,
    ragged_paged_attention,
    triton_block,
    triton_decode,
    triton_shared,
)
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case, make_inputs

PAGE, ROWS, COLUMNS, SLOTS = 4, 16, 12, 388
"""Sizes that hold every random case: one program runs them all."""
# Pages that each group shares, and tokens that each of its rows has for itself.
random_groups = st.lists(
    st.tuples(st.integers(0, 8), st.lists(st.integers(1, 14), min_size=1, max_size=4)),
    min_size=1,
    max_size=4,
)
SIZES = (
    (triton_shared.Sizes(rows=2, block=4, programs=1), triton_decode.Sizes(block=8, programs=1)),
    (triton_shared.Sizes(rows=6, block=8, programs=6), triton_decode.Sizes(block=4, programs=64)),
)
"""Blocks of one row and of three; prefixes whole and in parts; without splits and with."""


def reference(case: Case, inputs: cases.Inputs) -> np.ndarray:
    """Every row by itself."""
    rows = dataclasses.replace(inputs.rows, shared=None)
    op = functools.partial(ragged_paged_attention, implementation="reference", **case.static)
    return np.asarray(op(inputs.q, inputs.k, inputs.v, rows))


@functools.cache
def kernels(shared: triton_shared.Sizes, decode: triton_decode.Sizes, page_size: int = 16):
    """Both kernels with these sizes, interpreted."""

    def call(q, k, v, rows):
        options = triton_block.Options(page_size, q.shape[-1] ** -0.5, interpret=True)
        prefixes = triton_shared.attend(q, k, v, rows, options=options, sizes=shared)
        return triton_decode.decode(q, k, v, rows, options=options, sizes=decode, prefixes=prefixes)

    return jax.jit(call)


@settings(max_examples=40)
@given(groups=random_groups, sizes=st.sampled_from(SIZES), seed=st.integers(0, 9))
def test_random_groups_give_what_each_row_gives_by_itself(groups, sizes, seed):
    case = Case(
        "random",
        tuple(pages * PAGE + own for pages, owns in groups for own in owns),
        groups=tuple((len(owns), pages * PAGE) for pages, owns in groups),
        kv_heads=1,
        group=2,
        head=16,
        page_size=PAGE,
        S=ROWS,
        C=COLUMNS,
    )
    inputs = make_inputs(case, seed)
    missing = ((0, SLOTS - len(inputs.k)), (0, 0), (0, 0))
    k, v = (jnp.pad(x, missing, constant_values=jnp.nan) for x in (inputs.k, inputs.v))
    inputs = dataclasses.replace(inputs, k=k, v=v)
    out = kernels(*sizes, PAGE)(inputs.q, k, v, inputs.rows)
    np.testing.assert_allclose(out, reference(case, inputs), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dtype, bound", [(jnp.bfloat16, 5e-3), (jnp.float16, 7e-4)])
def test_half_precision_keeps_within_its_rounding_with_the_block_sizes_of_an_h200(dtype, bound):
    """Rows of more than one block, whose parts end inside a block of tokens."""
    case = Case(
        "half", tuple(range(225, 245)), groups=((19, 208), (1, 16)), kv_heads=1, group=5, head=80
    )
    inputs = make_inputs(case, 0, dtype)
    sizes = (module.sizes(256, dtype, "NVIDIA H200") for module in (triton_shared, triton_decode))
    out = kernels(*sizes)(inputs.q, inputs.k, inputs.v, inputs.rows)
    assert out.dtype == dtype
    q, k, v = (x.astype(jnp.float32) for x in (inputs.q, inputs.k, inputs.v))
    expected = reference(case, dataclasses.replace(inputs, q=q, k=k, v=v))
    error = np.linalg.norm(np.asarray(out, np.float32) - expected) / np.linalg.norm(expected)
    assert error < bound


def hidden_from_all_but_the_first(rows: RaggedRows, page_size: int) -> RaggedRows:
    """The rows, with NaN for shared tokens in all tables but those of the first rows of groups."""
    shared = rows.shared
    assert shared is not None
    is_other = shared.first != jnp.arange(len(shared.first))
    column = jnp.arange(rows.tables.shape[1])[None]
    is_hidden = is_other[:, None] & (column < shared.lengths[:, None] // page_size)
    return dataclasses.replace(rows, tables=jnp.where(is_hidden, 0, rows.tables))


def test_a_block_of_rows_reads_what_it_shares_through_its_first_row_alone():
    case = Case("read once", (40, 50, 60, 33), groups=((3, 32), (1, 0)), kv_heads=1)
    inputs = make_inputs(case, 0)
    rows = hidden_from_all_but_the_first(inputs.rows, case.page_size)
    sizes = triton_shared.Sizes(rows=16, block=16), triton_decode.Sizes(block=16)
    out = kernels(*sizes)(inputs.q, inputs.k, inputs.v, rows)
    np.testing.assert_allclose(out, reference(case, inputs), rtol=1e-5, atol=2e-6)


def test_the_reference_believes_what_is_said_to_be_shared():
    """So that the engine's tests, which run on it, see a group that is wrong."""
    case = Case("read once", (40, 50, 60, 33), groups=((3, 32), (1, 0)), kv_heads=1)
    inputs = make_inputs(case, 0)
    rows = hidden_from_all_but_the_first(inputs.rows, case.page_size)
    op = functools.partial(ragged_paged_attention, implementation="reference", **case.static)
    out = op(inputs.q, inputs.k, inputs.v, rows)
    np.testing.assert_array_equal(out, op(inputs.q, inputs.k, inputs.v, inputs.rows))
    wrong = dataclasses.replace(
        inputs.rows,
        shared=SharedPrefixes(jnp.zeros(4, jnp.int32), jnp.array([32, 32, 32, 16], jnp.int32)),
    )
    assert np.abs(op(inputs.q, inputs.k, inputs.v, wrong)[3] - out[3]).max() > 0.05

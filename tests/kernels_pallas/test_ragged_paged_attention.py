"""Ragged paged attention: the reference against a dense oracle, the kernels against the reference.

Every unused slot of a case's cache holds NaN, so a test also fails where one is read.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from sgjax.kernels_pallas.ragged_paged_attention import (
    RaggedRows,
    cases,
    ragged_paged_attention,
    triton,
    triton_block,
    triton_decode,
    triton_extend,
)
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case, make_inputs

every_small_case = pytest.mark.parametrize("case", cases.SMALL, ids=lambda case: case.name)
H200 = "NVIDIA H200"


def oracle(case: Case, inputs: cases.Inputs) -> np.ndarray:
    """Softmax over each row's keys, all at once, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (inputs.q, inputs.k, inputs.v))
    out, first = np.zeros(q.shape), 0
    for table, length, new in zip(
        np.asarray(inputs.rows.tables), case.lengths, case.num_tokens, strict=False
    ):
        at = np.arange(length)
        slots = table[at // case.page_size] * case.page_size + at % case.page_size
        own = slice(first, first + new)
        scores = np.einsum("tkgh,ukh->kgtu", q[own], k[slots]) * case.head**-0.5
        if case.soft_cap is not None:
            scores = case.soft_cap * np.tanh(scores / case.soft_cap)
        distance = at[length - new :, None] - at[None, :]
        seen = np.abs(distance) < (case.window or length + 1)
        if case.is_causal:
            seen &= distance >= 0
        if case.chunk is not None:
            seen &= at[length - new :, None] // case.chunk == at // case.chunk
        p = np.where(seen, np.exp(scores), 0)
        total = p.sum(-1, keepdims=True)
        if case.sinks is not None:
            total += np.exp(np.asarray(case.sinks, np.float64))[:, :, None, None]
        out[own] = np.einsum("kgtu,ukh->tkgh", p / total, v[slots])
        first += new
    return out


def options_of(case: Case) -> triton_block.Options:
    scale = case.head**-0.5
    return triton_block.Options(case.page_size, scale, case.soft_cap, case.view, interpret=True)


@functools.cache
def reference(case: Case, seed: int = 0) -> tuple[cases.Inputs, np.ndarray]:
    inputs = make_inputs(case, seed)
    op = jax.jit(
        functools.partial(ragged_paged_attention, implementation="reference", **case.static)
    )
    return inputs, np.asarray(op(inputs.q, inputs.k, inputs.v, inputs.rows))


@every_small_case
def test_the_reference_equals_a_dense_oracle(case):
    inputs, out = reference(case)
    np.testing.assert_allclose(out, oracle(case, inputs), rtol=1e-5, atol=2e-6)


@every_small_case
def test_the_triton_kernels_equal_the_reference(case):
    inputs, expected = reference(case)
    op = jax.jit(functools.partial(triton.ragged_paged_attention, interpret=True, **case.static))
    out = op(inputs.q, inputs.k, inputs.v, inputs.rows)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    "name",
    [
        "extend in a long window",
        "mixed in a window",
        "extend in long chunks",
        "mixed in chunks",
        "mixed",
    ],
)
def test_the_kernels_equal_the_reference_with_the_block_sizes_of_an_h200(name):
    """A tile of 128 rows has tokens that see nothing of the tile's first block."""
    case = next(case for case in cases.SMALL if case.name == name)
    inputs, expected = reference(case)
    options = options_of(case)
    extend = triton_extend.sizes(256, jnp.bfloat16, H200)
    decode = dataclasses.replace(triton_decode.sizes(256, jnp.bfloat16, H200), programs=1)

    @jax.jit
    def both(*arrays):
        out = triton_extend.extend(*arrays, options=options, sizes=extend)
        return triton_decode.decode(*arrays, options=options, sizes=decode, over=out)

    out = both(inputs.q, inputs.k, inputs.v, inputs.rows)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    "case", [case for case in cases.SMALL if case.extend], ids=lambda case: case.name
)
def test_query_blocks_that_are_split_equal_the_reference(case, monkeypatch):
    """Some splits have nothing to read, some nothing that all of their tokens see."""
    monkeypatch.setattr(triton_extend, "_LEAST_BLOCKS", 1)
    inputs, expected = reference(case)
    options = options_of(case)
    M = max(1, 32 // case.group)
    programs = 4 * case.kv_heads * -(-inputs.q.shape[0] // M)
    sizes = triton_extend.Sizes(rows=32, block=16, programs=programs)

    @jax.jit
    def both(*arrays):
        sinks = case.sinks
        out = triton_extend.extend(*arrays, sinks=sinks, options=options, sizes=sizes)
        decode = triton_decode.Sizes(block=16)
        return triton_decode.decode(*arrays, sinks=sinks, options=options, sizes=decode, over=out)

    out = both(inputs.q, inputs.k, inputs.v, inputs.rows)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6)


def test_few_query_blocks_are_split_and_many_are_not():
    splits = functools.partial(triton_extend.num_splits, K=8, M=32, programs=264)
    assert [splits(T) for T in (1, 128, 256, 512, 1024, 8192)] == [16, 8, 4, 2, 1, 1]


def test_the_kernels_keep_bfloat16_within_its_rounding():
    case = Case("bfloat16", (70, 5), ((20, 40),), kv_heads=1, head=128)
    inputs = make_inputs(case, 0, jnp.bfloat16)
    op = functools.partial(triton.ragged_paged_attention, interpret=True, kind=H200, **case.static)
    out = jax.jit(op)(inputs.q, inputs.k, inputs.v, inputs.rows)
    assert out.dtype == jnp.bfloat16
    expected = oracle(case, inputs)
    error = np.linalg.norm(np.asarray(out, np.float64) - expected) / np.linalg.norm(expected)
    assert error < 5e-3


@pytest.mark.parametrize("implementation", ["reference", "triton"])
@pytest.mark.parametrize("option", [{"window": 30}, {"chunk": 64}])
def test_nothing_before_a_view_is_read(option, implementation):
    case = Case("far", (200,), ((130, 40),), **option)
    inputs, expected = reference(case)
    is_hidden = np.zeros(inputs.k.shape[0], bool)
    for table, length, new in zip(inputs.rows.tables, case.lengths, case.num_tokens, strict=True):
        at = np.arange(case.view.first(length - new))
        slots = np.asarray(table)[at // case.page_size] * case.page_size + at % case.page_size
        is_hidden[slots] = True
    assert is_hidden.sum() > 200
    k, v = (jnp.where(is_hidden[:, None, None], jnp.nan, x) for x in (inputs.k, inputs.v))
    ops = {
        "reference": functools.partial(ragged_paged_attention, implementation="reference"),
        "triton": functools.partial(triton.ragged_paged_attention, interpret=True),
    }
    out = jax.jit(functools.partial(ops[implementation], **case.static))(
        inputs.q, k, v, inputs.rows
    )
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("option", "value"), [("window", 16), ("chunk", 16), ("soft_cap", 1.0)])
def test_a_feature_left_out_is_seen(option, value):
    case = Case("all", (40,), ((30, 20),), **{"soft_cap": 1.0, option: value})
    inputs, with_it = reference(case)
    without = oracle(dataclasses.replace(case, **{option: None}), inputs)
    assert np.abs(with_it - without).max() > 0.05


def test_the_reference_holds_one_block_of_scores_whatever_the_tables_hold():
    case = Case("long tables", extend=((0, 512),), kv_heads=2, group=4, head=64, C=512)
    inputs = make_inputs(case, 0)
    op = jax.jit(
        functools.partial(ragged_paged_attention, implementation="reference", **case.static)
    )
    columns = jax.tree.leaves(inputs.rows)
    compiled = (
        jax.jit(lambda q, k, v, *columns: op(q, k, v, RaggedRows(*columns)))
        .lower(inputs.q, inputs.k, inputs.v, *columns)
        .compile()
    )
    dense_scores = 4 * 512 * 8 * 512 * case.page_size
    assert compiled.memory_analysis().temp_size_in_bytes < dense_scores / 20


def test_kv_heads_over_two_devices_give_the_result_of_one():
    case = Case("sharded", (3,), ((37, 9), (5, 13)), S=4, T=32)
    inputs, expected = reference(case)
    mesh = jax.make_mesh((2,), ("tensor",), axis_types=(AxisType.Auto,))
    heads = PartitionSpec(None, "tensor")
    op = jax.shard_map(
        lambda *arrays: ragged_paged_attention(*arrays, **case.static),
        mesh=mesh,
        in_specs=(heads, heads, heads, PartitionSpec()),
        out_specs=heads,
        check_vma=False,
    )
    out = jax.jit(op)(inputs.q, inputs.k, inputs.v, inputs.rows)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("more", [{"window": 4}, {"is_causal": False}])
def test_chunks_of_what_has_a_window_or_is_not_causal_are_an_error(more):
    case = Case("any", (3,), chunk=4, **more)
    inputs = make_inputs(case, 0)
    with pytest.raises(ValueError, match="chunk = 4 is for causal attention without a window"):
        ragged_paged_attention(inputs.q, inputs.k, inputs.v, inputs.rows, **case.static)


def test_an_unknown_implementation_is_an_error_that_names_the_known_ones():
    case = Case("any", (3,))
    inputs = make_inputs(case, 0)
    with pytest.raises(ValueError, match="'flash': pass one of reference, triton"):
        ragged_paged_attention(
            inputs.q, inputs.k, inputs.v, inputs.rows, implementation="flash", **case.static
        )


def test_decode_alone_with_fewer_tokens_than_rows_is_an_error():
    case = Case("any", (3, 4))
    inputs = make_inputs(case, 0)
    with pytest.raises(ValueError, match="1 tokens and 2 rows"):
        ragged_paged_attention(inputs.q[:1], inputs.k, inputs.v, inputs.rows, **case.static)


def test_a_cache_of_another_dtype_than_q_is_an_error_of_the_kernels():
    case = Case("any", (3,))
    inputs = make_inputs(case, 0)
    with pytest.raises(TypeError, match="q is bfloat16, the cache float32"):
        triton.ragged_paged_attention(
            inputs.q.astype(jnp.bfloat16), inputs.k, inputs.v, inputs.rows, **case.static
        )

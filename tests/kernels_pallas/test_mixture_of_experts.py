import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.activations import gated
from sgjax.kernels_pallas.mixture_of_experts import mixture_of_experts, reference, triton
from sgjax.kernels_pallas.mixture_of_experts.cases import SMALL, make_inputs
from sgjax.kernels_pallas.mixture_of_experts.plan import expert_blocks, most_blocks

CASES = pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)


def gate(g, u, activation):
    if activation == "clamped_silu":
        g, u = np.minimum(g, 7), np.clip(u, -7, 7)
        return g / (1 + np.exp(-1.702 * g)) * (u + 1)
    if activation == "gelu_tanh":
        return 0.5 * g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3))) * u
    return g / (1 + np.exp(-g)) * u


def expected(case, inputs):
    """Token by token, expert by expert, in float64."""
    x, ids, weights = (np.asarray(a, np.float64) for a in (inputs.x, inputs.ids, inputs.weights))
    w_up, w_down, b_up, b_down = (
        None if a is None else np.asarray(a, np.float64) for a in inputs.experts
    )
    out = np.zeros_like(x)
    for t, c in np.ndindex(ids.shape):
        e = int(ids[t, c])
        if not 0 <= e < case.E:
            continue
        both = np.einsum("d,dpx->px", x[t], w_up[e]) + (0 if b_up is None else b_up[e])
        made = gate(*both, case.activation) @ w_down[e] + (0 if b_down is None else b_down[e])
        out[t] += weights[t, c] * made
    return out


def called(op, case, inputs, **options):
    op = jax.jit(functools.partial(op, activation=case.activation, **options))
    return op(inputs.x, inputs.ids, inputs.weights, inputs.experts)


@CASES
def test_the_definition_is_a_weighed_sum_over_experts(case):
    inputs = make_inputs(case, 0, jnp.float32)
    found = called(mixture_of_experts, case, inputs, implementation="reference")
    np.testing.assert_allclose(found, expected(case, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@CASES
def test_the_kernels_equal_the_definition(case, dtype):
    inputs = make_inputs(case, 1, dtype)
    found = called(triton.mixture_of_experts, case, inputs, interpret=True)
    wanted = called(reference.mixture_of_experts, case, inputs)
    assert found.dtype == wanted.dtype
    difference = np.asarray(found, np.float32) - np.asarray(wanted, np.float32)
    bound = {jnp.bfloat16: 2**-8, jnp.float16: 2**-11}[dtype]
    assert np.linalg.norm(difference) <= bound * np.linalg.norm(np.asarray(wanted, np.float32))


@pytest.mark.parametrize(("columns", "depth"), [(16, 16), (32, 64), (128, 32)])
@pytest.mark.parametrize("M", [16, 64])
def test_the_result_does_not_depend_on_how_the_work_is_cut(M, columns, depth):
    case = next(case for case in SMALL if case.name == "biases and GELU")
    inputs = make_inputs(case, 2, jnp.float16)
    sizes = triton.Sizes(columns, depth)
    blocks = expert_blocks(inputs.ids, case.E, M)
    how = {"M": M, "sizes": sizes, "interpret": True}

    @jax.jit
    def call(x, experts, weights):
        hidden = triton.gate_up(x, blocks, experts, case.top, activation=case.activation, **how)
        return triton.multiply_down(hidden, blocks, experts, weights, **how)

    found = call(inputs.x, inputs.experts, inputs.weights.reshape(-1))
    wanted = expected(case, inputs)
    assert np.linalg.norm(np.asarray(found, np.float64) - wanted) < 2e-3 * np.linalg.norm(wanted)


@pytest.mark.parametrize("size", [1, 4, 16])
@CASES
def test_every_pair_is_in_one_block_of_its_expert(case, size):
    ids = make_inputs(case, 3).ids
    blocks = jax.tree.map(np.asarray, expert_blocks(ids, case.E, size))
    assert len(blocks.expert) == most_blocks(ids.size, case.E, size)
    seen, flat = [], np.asarray(ids).reshape(-1)
    for expert, first, count in zip(blocks.expert, blocks.first, blocks.count, strict=True):
        assert count <= size
        pairs = blocks.order[first : first + count]
        assert (flat[pairs] == expert).all()
        seen += pairs.tolist()
    assert sorted(seen) == np.flatnonzero((flat >= 0) & (flat < case.E)).tolist()


@pytest.mark.parametrize("n", [1, 700, 3000])
def test_pairs_come_by_expert_and_else_in_their_order(n):
    ids = np.random.default_rng(n).integers(-1, 9, (n, 1)).astype(np.int32)
    here = np.where((ids >= 0) & (ids < 7), ids, 7).reshape(-1)
    order = jax.jit(lambda ids: expert_blocks(ids, 7, 4).order)(ids)
    np.testing.assert_array_equal(order, np.argsort(here, stable=True))


def test_weights_of_experts_without_tokens_are_not_read():
    case = next(case for case in SMALL if case.routing == "one")
    inputs = make_inputs(case, 4, jnp.bfloat16)
    here = (jnp.arange(case.E) == case.E // 2)[:, None, None]
    experts = inputs.experts._replace(
        gate_up=jnp.where(here[..., None], inputs.experts.gate_up, jnp.nan),
        down=jnp.where(here, inputs.experts.down, jnp.nan),
    )
    for op in (reference.mixture_of_experts, triton.mixture_of_experts):
        options = {"interpret": True} if op is triton.mixture_of_experts else {}
        found = called(op, case, dataclasses.replace(inputs, experts=experts), **options)
        assert np.isfinite(np.asarray(found, np.float32)).all()


def test_float32_is_left_to_the_definition():
    case = SMALL[0]
    inputs = make_inputs(case, 5, jnp.float32)
    op = jax.make_jaxpr(lambda *a: mixture_of_experts(*a, implementation="triton"))
    traced = str(op(inputs.x, inputs.ids, inputs.weights, inputs.experts))
    assert "pallas_call" not in traced


def test_a_clamped_gate_is_held_within_seven():
    g, u = np.meshgrid(np.linspace(-20, 20, 41), np.linspace(-20, 20, 41))
    arrays = (jnp.asarray(a, jnp.float32) for a in (g, u))
    found = gated(*arrays, "clamped_silu")
    np.testing.assert_allclose(found, gate(g, u, "clamped_silu"), rtol=1e-5, atol=1e-5)

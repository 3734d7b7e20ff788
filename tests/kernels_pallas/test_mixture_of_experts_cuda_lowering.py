"""Mixtures of experts compile for an H200: two launches of ours, and weights are read in place."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.kernels_pallas.mixture_of_experts import Experts, cases, triton
from sgjax.kernels_pallas.mixture_of_experts.cases import Case
from tests.absent_gpu import REASON, h200s, no_compilation_cache

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)

OURS = ["mixture_of_experts_gate_up", "mixture_of_experts_down"]
ODD = Case("odd sizes", 5, 6, 3, 200, 72, biased=True, activation="clamped_silu")


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


def compiled(case: Case, dtype=jnp.bfloat16):
    """A program of one call, for weights that lie as models have them."""
    whole = NamedSharding(h200s(), PartitionSpec())

    def array(*shape, dtype=dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

    def op(x, ids, weights, experts):
        return triton.mixture_of_experts(
            x, ids, weights, experts, activation=case.activation, kind="NVIDIA H200"
        )

    T, E, D, X = case.T, case.E, case.D, case.X
    biases = (array(E, 2, X), array(E, D)) if case.biased else ()
    experts = Experts(array(E, D, 2, X), array(E, X, D), *biases)
    ids, weights = array(T, case.top, dtype=jnp.int32), array(T, case.top, dtype=jnp.float32)
    with jax.sharding.use_abstract_mesh(h200s().abstract_mesh):
        return jax.jit(op).trace(array(T, D), ids, weights, experts).lower().compile()


def launches(program) -> list[str]:
    """Our kernels, in order."""
    return re.findall(r'custom-call\(.*op_name="[^"]*(mixture_of_experts_\w+)', program.as_text())


@pytest.mark.parametrize("T", [1, 256, 2048])
@pytest.mark.parametrize("model", [cases.mixtral, cases.qwen3_30b], ids=["mixtral", "qwen3"])
def test_a_mixture_is_two_launches_that_copy_no_weights(model, T):
    case = model("", T)
    program = compiled(case)
    assert launches(program) == OURS
    assert " sort(" not in program.as_text(), "a sort is compiled anew for each layer"
    pairs = T * case.top
    made = 2 * pairs * (case.X + case.D)
    assert program.memory_analysis().temp_size_in_bytes < 2 * made + 2**20


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("T", [5, 40, 80, 600])
def test_odd_sizes_and_biases_compile_for_blocks_of_every_size(T, dtype):
    case = dataclasses.replace(ODD, T=T)
    assert launches(compiled(case, dtype)) == OURS

"""Products of few rows compile for an H200: one launch each, and a weight is read where it lies."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.kernels_pallas.product import LEAST_MANY, MOST_ROWS, cases, triton
from sgjax.kernels_pallas.product.cases import Case
from tests.absent_gpu import REASON, h200s, no_compilation_cache

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)

NARROW = Case("narrow", "plain", 3, 80, 48)
REST = Case("of sizes that nothing divides", "plain", 1, 4736, 1000)


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


def compiled(case: Case, dtype=jnp.bfloat16, *, biased=False, activation="silu"):
    """A program of one call, for weights that lie as models have them."""
    whole = NamedSharding(h200s(), PartitionSpec())
    options = {"form": case.form, "activation": activation, "kind": "NVIDIA H200"}

    def array(*shape):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

    def op(x, delta, scale, w, bias):
        if not case.normed:
            return triton.product(x, w, bias, **options)
        return triton.normed_product(x, delta, scale, w, bias, eps=1e-5, **options)

    rows, shape = array(case.T, case.K), case.weight_shape
    bias = array(*shape[1:]) if biased else None
    with jax.sharding.use_abstract_mesh(h200s().abstract_mesh):
        traced = jax.jit(op).trace(rows, rows, array(case.K), array(*shape), bias)
        return traced.lower().compile()


def launches(program) -> list[str]:
    """What the program does, in order: our kernels by name, other work by its kind."""
    text = program.as_text()
    found = []
    for line in text[text.index("ENTRY") :].splitlines():
        if name := re.search(r'custom-call\(.*op_name="[^"]*(product_\w+|add_rms_norm)', line):
            found.append(name[1])
        elif kind := re.search(r" (custom-call|fusion|copy|dot|transpose|while)\(", line):
            found.append(kind[1])
    return found


@pytest.mark.parametrize(
    "case",
    [x for x in cases.REAL if x.T == 1 or (x.T == MOST_ROWS and not x.normed)],
    ids=lambda case: case.name,
)
def test_few_rows_are_one_launch_that_copies_nothing(case):
    program = compiled(case)
    assert launches(program) == [f"product_{case.form}"]
    assert program.memory_analysis().temp_size_in_bytes < 2**10


@pytest.mark.parametrize("case", [NARROW, REST], ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_odd_sizes_and_biases_compile_too(case, dtype):
    assert launches(compiled(case, dtype, biased=True)) == ["product_plain"]


def test_more_rows_are_normed_by_themselves():
    case = Case("", "gated", MOST_ROWS + 1, 4096, 14336, normed=True)
    found = launches(compiled(case))
    assert found[0] == "add_rms_norm"
    assert "product_gated" not in found


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh", "relu2", "tanh"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_gated_product_of_prompts_is_one_launch(activation, dtype):
    case = Case("", "gated", LEAST_MANY, 4096, 14336)
    program = compiled(case, dtype, activation=activation)
    assert launches(program) == ["product_gated_many"]
    assert program.memory_analysis().temp_size_in_bytes < 2**10


def test_a_gated_product_of_normed_prompts_is_two():
    case = Case("", "gated", LEAST_MANY, 1024, 3072, normed=True)
    assert launches(compiled(case)) == ["add_rms_norm", "product_gated_many"]


@pytest.mark.parametrize(
    ("case", "dtype", "biased", "activation"),
    [
        (Case("", "gated", LEAST_MANY - 128, 1024, 3072), jnp.bfloat16, False, "silu"),
        (Case("", "gated", LEAST_MANY, 1024, 3136), jnp.bfloat16, False, "silu"),
        (Case("", "gated", LEAST_MANY, 1024, 3072), jnp.float32, False, "silu"),
        (Case("", "gated", LEAST_MANY, 1024, 3072), jnp.bfloat16, True, "silu"),
        (Case("", "gated", LEAST_MANY, 1024, 3072), jnp.bfloat16, False, "gelu"),
        (Case("", "gated", LEAST_MANY, 1024, 65536), jnp.bfloat16, False, "silu"),
    ],
    ids=["few", "parts of tiles", "float32", "a bias", "another activation", "not tuned"],
)
def test_xla_multiplies_what_the_kernel_of_prompts_does_not_take(case, dtype, biased, activation):
    found = launches(compiled(case, dtype, biased=biased, activation=activation))
    assert "product_gated_many" not in found


@pytest.mark.parametrize(
    ("T", "dtype"), [(MOST_ROWS + 1, jnp.bfloat16), (1, jnp.float32)], ids=["many", "float32"]
)
def test_xla_multiplies_many_rows_and_float32(T, dtype):
    program = compiled(Case("", "plain", T, 1024, 512), dtype)
    assert "product_plain" not in launches(program)

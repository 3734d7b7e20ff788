"""The Mosaic GPU kernel in the interpreter, which keeps its barriers, copies and threads.

It is compared with the reference. Every unused slot of a case's cache holds NaN, and so does memory
that nobody wrote.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.ragged_paged_attention import (
    cases,
    mosaic,
    mosaic_extend,
    ragged_paged_attention,
    triton_block,
    triton_extend,
)
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case, make_inputs
from sgjax.kernels_pallas.ragged_paged_attention.triton_clear import clear

needs_interpreter = pytest.mark.skipif(
    jax.__version_info__ < (0, 11), reason="JAX 0.10's interpreter has no transposed products"
)
case = functools.partial(Case, kv_heads=1, group=2, head=128)
CASES = (
    case("rows of all sizes", extend=((0, 1), (0, 63), (0, 64), (5, 67)), T=200, S=5),
    case("behind a prefix", extend=((130, 75), (15, 69))),
    case("mixed in a window", (40,), ((0, 20), (270, 100)), window=100, S=6, T=128),
    case("pages of 8, and a row that waits", extend=((40, 0), (300, 4)), page_size=8, T=64),
    case("an odd number of heads in long pages", extend=((190, 66),), group=5, page_size=256, T=72),
)


def reference(case: Case, dtype):
    inputs = make_inputs(case, 0, dtype)
    exact = (x.astype(jnp.float32) for x in (inputs.q, inputs.k, inputs.v))
    op = functools.partial(ragged_paged_attention, implementation="reference", **case.static)
    return inputs, np.asarray(jax.jit(op)(*exact, inputs.rows), np.float64)


def relative_error(out, expected) -> float:
    difference = np.asarray(out, np.float64) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


def extended_error(case: Case, dtype, sizes: mosaic_extend.Sizes) -> float:
    """Of the kernel against the reference, over all tokens but the decode rows'."""
    inputs, expected = reference(case, dtype)
    assert mosaic_extend.fits(inputs.q, case.page_size, case.soft_cap)
    options = triton_block.Options(case.page_size, case.head**-0.5, case.window, None, True)
    arrays = jax.block_until_ready((inputs.q, inputs.k, inputs.v, inputs.rows))
    out = mosaic_extend.extend(*arrays, options=options, sizes=sizes)
    return relative_error(out[len(case.decode) :], expected[len(case.decode) :])


@needs_interpreter
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_equal_the_reference_within_rounding(case):
    assert extended_error(case, jnp.bfloat16, mosaic_extend.Sizes()) < 4e-3


@needs_interpreter
@pytest.mark.parametrize("sizes", [(128, 2, 3), (64, 3, 2), (64, 4, 1)])
def test_programs_take_one_unit_after_the_other(sizes):
    long = case("long", extend=((0, 200), (70, 77)), T=280)
    assert extended_error(long, jnp.float16, mosaic_extend.Sizes(*sizes)) < 5e-4


@pytest.mark.parametrize(
    "other",
    [
        {"head": 64},
        {"page_size": 4},
        {"soft_cap": 5.0},
        {"T": 63},
        {"T": 99},
        {"group": 1},
        {"group": 3},
    ],
)
def test_what_the_kernel_does_not_take_is_left_to_triton(other, monkeypatch):
    monkeypatch.setattr(mosaic_extend, "extend", None)
    extended = []
    extend = triton_extend.extend
    monkeypatch.setattr(
        triton_extend, "extend", lambda *args, **kw: extended.append(1) or extend(*args, **kw)
    )
    odd = case("odd", **{"extend": ((3, 60),), "T": 64} | other)
    inputs = make_inputs(odd, 0, jnp.bfloat16)
    op = functools.partial(mosaic.ragged_paged_attention, interpret=True, **odd.static)
    jax.eval_shape(op, inputs.q, inputs.k, inputs.v, inputs.rows)
    assert extended


@pytest.mark.parametrize("S", [1, 3, 8])
def test_tokens_of_no_row_become_zero_and_others_stay(S):
    ragged = Case("ragged", (5,), ((0, 7), (0, 20))[: S - 1], S=S, T=40)
    rows = make_inputs(ragged, 0).rows
    used = sum(ragged.num_tokens)
    out = np.asarray(clear(jnp.full((40, 2, 3, 8), jnp.pi), rows, interpret=True))
    assert np.all(out[:used] == np.float32(np.pi)) and not np.any(out[used:])


def test_real_cases_of_long_rows_are_taken():
    taken = [
        real.name
        for real in cases.REAL
        if real.extend
        and mosaic_extend.fits(
            jax.ShapeDtypeStruct((sum(real.num_tokens), 8, 4, 128), jnp.bfloat16), 16, None
        )
    ]
    expected = [real.name for real in cases.REAL if real.extend]
    assert taken == (expected if jax.__version_info__ >= (0, 11) else [])

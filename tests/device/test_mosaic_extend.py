"""The Mosaic GPU kernel on a Hopper GPU, against the reference on the same GPU.

Most of the time goes into tuning the reference's products: XLA_FLAGS=--xla_gpu_autotune_level=0.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.ragged_paged_attention import cases, mosaic_extend, ragged_paged_attention
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case, make_inputs

pytestmark = pytest.mark.device

case = functools.partial(Case, kv_heads=8, group=4, head=128)
CASES = (
    case("one full block", extend=((0, 64),)),
    case("one ragged block", extend=((0, 37),), T=64),
    case("one block behind a prefix", extend=((130, 64),)),
    case("rows of all sizes", extend=((0, 1), (0, 63), (0, 64), (5, 65), (37, 9), (0, 700)), T=904),
    case("chunks behind prefixes", extend=((4096, 512), (8191, 513), (1000, 1)), T=1032),
    case("mixed", (40, 700, 16), ((0, 20), (370, 900)), S=8, T=1024),
    case("a window", (40, 700), ((0, 20), (370, 900)), S=8, T=1024, window=200),
    case("a short window", (40, 700), ((0, 20), (370, 900)), S=8, T=1024, window=10),
    case("a window of blocks", extend=((0, 3000),), window=1024),
    case("pages of 8", extend=((300, 900), (77, 100)), page_size=8),
    case("pages of 64", extend=((300, 900), (77, 100)), page_size=64),
    case("pages of 256", extend=((300, 900), (77, 100)), page_size=256),
    case("an odd number of heads", extend=((300, 900), (77, 100)), kv_heads=2, group=7),
    case("2 heads to a kv head", extend=((300, 900), (77, 100)), group=2),
    case("rows that wait", extend=((40, 0), (300, 400), (20, 0), (1, 100)), S=8, T=512),
    *(real for real in cases.REAL if real.extend),
)


def relative_error(case: Case, dtype, seed: int) -> float:
    """Of the kernels against the reference, over all elements; NaN where one was not written."""
    inputs = make_inputs(case, seed, dtype)
    assert mosaic_extend.fits(inputs.q, case.page_size, case.soft_cap)
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
        for implementation in ("mosaic", "reference")
    )
    return float(np.linalg.norm(out - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_equal_the_reference_within_rounding(case, dtype):
    assert relative_error(case, dtype, seed=5) < (5e-3 if dtype == jnp.bfloat16 else 7e-4)

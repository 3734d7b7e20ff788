"""Products of few rows, and gated ones of many, as a benchmark sees them.

Bytes are those of the weight, the rows and the result, each once. The kernel for few rows is called
for more than that too, where the engine would leave them to XLA: "reference" says what that takes,
and so up to where the kernel pays. From where the other may be called, it is.
"""

from typing import get_args

import jax

from sgjax.bench.kernels.op import Arrays, Call, Op, TunedKernel
from sgjax.kernels_pallas import product
from sgjax.kernels_pallas.block_sizes import device_kind
from sgjax.kernels_pallas.dispatch import implementation_of
from sgjax.kernels_pallas.product import Form, cases, mosaic_gated, reference, triton, triton_few
from sgjax.kernels_pallas.product.cases import Case, make_inputs

COLD_BYTES = 256 * 2**20
"""The weights of one program come to this at least, so that a call does not find its own in L2."""
EPS = 1e-5
ITEM_BYTES = 2
BOUND = 1.5e-2
"""Of the relative error. The reference rounds a norm's result twice, the kernel once: that and the
result's own rounding come to 0.004, and to 0.006 where two results are multiplied, 0.01 where these
are few. A block left out of the largest weight would be 0.07."""


def num_bytes(case: Case) -> int:
    return weight_bytes(case) + case.T * (case.K + case.N) * ITEM_BYTES


def weight_bytes(case: Case) -> int:
    return case.K * case.N * (2 if case.form == "gated" else 1) * ITEM_BYTES


def num_operations(case: Case) -> int:
    return case.T * weight_bytes(case)


def row_bytes(case: Case) -> int:
    return case.N * ITEM_BYTES


def _arrays(case: Case, seed: int) -> Arrays:
    inputs = make_inputs(case, seed)
    return inputs.x, inputs.w, inputs.delta, inputs.scale


def _call(case: Case, implementation: str | None, interpret: bool) -> Call:
    if interpret or implementation_of(product.__name__, implementation) is triton:
        if _is_for_many(case):
            return _many(case, _sizes_for_many(case, device_kind()), interpret)
        return _few(case, _sizes(case, device_kind()), interpret)

    def call(x, w, delta, scale):
        if not case.normed:
            return reference.product(x, w, None, form=case.form)
        return reference.normed_product(x, delta, scale, w, None, eps=EPS, form=case.form)[1]

    return call


def _few(case: Case, sizes: triton_few.Sizes, interpret: bool) -> Call:
    def call(x, w, delta, scale):
        before = triton_few.Norm(delta, scale, EPS) if case.normed else None
        result = triton_few.product(
            x, w, None, before, form=case.form, sizes=sizes, interpret=interpret
        )
        return result[1] if case.normed else result

    return call


def _sizes(case: Case, kind: str | None) -> triton_few.Sizes:
    return triton_few.sizes(case.form, row_bytes(case), kind)


def _is_for_many(case: Case) -> bool:
    return case.form == "gated" and case.T >= product.LEAST_MANY and not case.normed


def _many(case: Case, sizes: mosaic_gated.Sizes, interpret: bool) -> Call:
    """There is no interpreter of it."""

    def call(x, w, delta, scale):
        return mosaic_gated.product(x, w, activation="silu", sizes=sizes)

    return call


def _sizes_for_many(case: Case, kind: str | None) -> mosaic_gated.Sizes:
    return mosaic_gated.sizes(row_bytes(case), kind) or mosaic_gated.Sizes()


def _spread(case: Case, arrays: Arrays, count: int) -> Arrays:
    """Rows for every call, so that none is the same as another, and weights in turn."""
    x, w, delta, scale = arrays
    copies = min(count, 1 + COLD_BYTES // weight_bytes(case))
    rows = [x] + [x * i for i in range(2, count + 1)]
    return rows, [w] + [w + 0 for _ in range(copies - 1)], delta, scale


def _chain(call: Call, count: int) -> Call:
    """The results of all calls: none takes another's, since few have the shape of the next rows."""
    call = jax.jit(call)  # traced once

    def program(rows, weights, delta, scale):
        return [call(rows[i], weights[i % len(weights)], delta, scale) for i in range(count)]

    return program


def _kernel(form: Form) -> TunedKernel:
    """Of the cases of a form, those with few rows."""

    def takes(case: Case) -> bool:
        return case.form == form and case.T <= product.MOST_ROWS

    return TunedKernel(name=form, takes=takes, sizes=_sizes, call=_few)


OP = Op(
    name="product",
    real=cases.REAL,
    small=cases.SMALL,
    arrays=_arrays,
    call=_call,
    spread=_spread,
    chain=_chain,
    num_bytes=num_bytes,
    num_operations=num_operations,
    shape_class=row_bytes,
    bound=BOUND,
    kernels=(
        *map(_kernel, get_args(Form)),
        TunedKernel(name="gated_many", takes=_is_for_many, sizes=_sizes_for_many, call=_many),
    ),
)

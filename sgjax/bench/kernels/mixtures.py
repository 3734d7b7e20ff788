"""Mixtures of experts, as a benchmark sees them.

Bytes are those of the weights of experts that have tokens, each once, and of the rows in and out;
operations are those of the products of each token with its experts.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from sgjax.bench.kernels.op import Arrays, Call, Op, TunedKernel
from sgjax.kernels_pallas.block_sizes import device_kind
from sgjax.kernels_pallas.mixture_of_experts import cases, mixture_of_experts, triton
from sgjax.kernels_pallas.mixture_of_experts.cases import Case, make_ids, make_inputs

ITEM_BYTES = 2
BOUND = 8e-3
"""Of the relative error: what an expert makes is rounded three times on the way."""


def num_bytes(case: Case) -> int:
    of_expert = 3 * case.D * case.X * ITEM_BYTES
    ids = make_ids(case, 0)
    here = len(np.unique(ids[(ids >= 0) & (ids < case.E)]))
    return here * of_expert + 2 * case.T * case.D * ITEM_BYTES


def num_operations(case: Case) -> int:
    ids = make_ids(case, 0)
    return int(((ids >= 0) & (ids < case.E)).sum()) * 6 * case.D * case.X


def row_bytes(case: Case) -> int:
    return case.X * ITEM_BYTES


def _arrays(case: Case, seed: int) -> Arrays:
    inputs = make_inputs(case, seed)
    return inputs.x, inputs.ids, inputs.weights, inputs.experts


def _call(case: Case, implementation: str | None, interpret: bool) -> Call:
    options = {"activation": case.activation}
    if interpret:
        return functools.partial(triton.mixture_of_experts, interpret=True, **options)
    return functools.partial(mixture_of_experts, implementation=implementation, **options)


def _spread(case: Case, arrays: Arrays, count: int) -> Arrays:
    """Rows and experts anew for every call: what one reads is seldom what the last one did."""
    x, ids, weights, experts = arrays
    rows = [x] + [x * i for i in range(2, count + 1)]
    all_ids = [ids] + [jnp.asarray(make_ids(case, 100 + i)) for i in range(1, count)]
    return rows, all_ids, weights, experts


def _chain(call: Call, count: int) -> Call:
    def program(rows, ids, weights, experts):
        return [call(rows[i], ids[i], weights, experts) for i in range(count)]

    return program


def _block(case: Case) -> int:
    return triton.block_of(case.T, case.top, case.E)


def _kernel(name: str, block: int) -> TunedKernel:
    """Tuned on the cases of such blocks, together with the other kernel as it is now."""

    def sizes(case: Case, kind: str | None) -> Any:
        return triton.sizes(name, block, row_bytes(case), kind)

    def call(case: Case, tried: Any, interpret: bool) -> Call:
        now = [triton.sizes(k, block, row_bytes(case), device_kind()) for k in triton.KERNELS]
        up, down = (tried if k == name else s for k, s in zip(triton.KERNELS, now, strict=True))
        return functools.partial(
            triton.mixture,
            M=block,
            up=up,
            down=down,
            activation=case.activation,
            interpret=interpret,
        )

    return TunedKernel(
        name=f"{name} {block}",
        takes=lambda case: _block(case) == block,
        sizes=sizes,
        call=call,
    )


OP = Op(
    name="mixture_of_experts",
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
    kernels=tuple(_kernel(name, block) for name in triton.KERNELS for block in triton.BLOCKS),
)

"""Drawing tokens, as a benchmark sees it.

Bytes are those of logits, and of the history of rows with penalties, each read once. There are no
products: the share of what the device multiplies is zero.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from sgjax.bench.kernels.op import Arrays, Call, Op
from sgjax.kernels_pallas.draw_tokens import Draws, draw_tokens, triton

COLD_BYTES = 256 * 2**20
"""The logits of one program come to this at least, so that a call does not find its own in L2."""


@dataclasses.dataclass(frozen=True)
class Case:
    """So many rows that are drawn in one way."""

    R: int
    V: int
    way: str
    spread: float = 3.0
    """Standard deviation of the logits: below 1 nearly all tokens are likely."""
    top_k: int = -1
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.R} x {self.V}, {self.way}"

    @property
    def has_history(self) -> bool:
        return self.repetition_penalty != 1 or self.frequency_penalty != 0


WAYS: tuple[dict[str, Any], ...] = (
    {"way": "temperature"},
    {"way": "top-p", "top_p": 0.9},
    {"way": "top-k and top-p", "top_k": 20, "top_p": 0.95},
    {"way": "top-k, flat", "top_k": 50, "spread": 0.02},
    {"way": "all", "top_k": 50, "top_p": 0.95, "min_p": 0.02, "repetition_penalty": 1.1,
     "frequency_penalty": 0.1},
)  # fmt: skip

REAL = tuple(Case(R, 128_256, **way) for R in (1, 64, 256, 512) for way in WAYS)
SMALL = tuple(Case(R, V, **way) for R, V in ((1, 1000), (5, 5003)) for way in WAYS)


def num_bytes(case: Case) -> int:
    return case.R * case.V * (4 + 2 * case.has_history)


def _arrays(case: Case, seed: int) -> Arrays:
    keys = jax.random.split(jax.random.key(seed), 3)
    logits = case.spread * jax.random.normal(keys[0], (case.R, case.V))
    seen = jax.random.randint(keys[1], (case.R, case.V), 0, 4).astype(jnp.int16)
    rows = jnp.arange(case.R)
    draws = Draws(
        slots=rows,
        seeds=jax.random.randint(keys[2], (case.R,), 0, 2**31 - 1),
        positions=rows,
        top_k=jnp.full(case.R, case.top_k),
        temperature=jnp.full(case.R, 0.8),
        top_p=jnp.full(case.R, case.top_p),
        min_p=jnp.full(case.R, case.min_p),
        frequency_penalty=jnp.full(case.R, case.frequency_penalty),
        presence_penalty=jnp.zeros(case.R),
        repetition_penalty=jnp.full(case.R, case.repetition_penalty),
    )
    return logits, seen, draws


def _call(case: Case, implementation: str | None, interpret: bool) -> Call:
    if interpret:
        return functools.partial(triton.draw_tokens, interpret=True)
    return functools.partial(draw_tokens, implementation=implementation)


def _spread(case: Case, arrays: Arrays, count: int) -> Arrays:
    logits, seen, draws = arrays
    copies = min(count, 1 + COLD_BYTES // num_bytes(case))
    return [logits + 0 for _ in range(copies)], seen, draws


def _chain(call: Call, count: int) -> Call:
    """Each call takes the last one's tokens as its positions, and the next logits."""

    def program(logits, seen, draws):
        first = last = call(logits[0], seen, draws)
        for i in range(1, count):
            last = call(logits[i % len(logits)], seen, draws._replace(positions=last))
        return first, last

    return program


OP = Op(
    name="draw_tokens",
    real=REAL,
    small=SMALL,
    arrays=_arrays,
    call=_call,
    spread=_spread,
    chain=_chain,
    num_bytes=num_bytes,
    num_operations=lambda case: 0,
    shape_class=lambda case: case.V,
    kernels=(),
)

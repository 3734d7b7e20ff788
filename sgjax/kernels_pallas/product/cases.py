"""Named products, of models that are served and odd ones: for tests and benchmarks."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from sgjax.kernels_pallas.product import Form

FEW = (1, 4, 8)
MANY = (1024, 8192)
"""Rows of prompts, which a gated product has a kernel for."""
NORMED = ("qkv", "gate_up", "head")
"""The weights that a norm stands before."""
MODELS: dict[str, dict[str, tuple[Form, int, int]]] = {
    "8b": {
        "qkv": ("plain", 4096, 6144),
        "out": ("plain", 4096, 4096),
        "gate_up": ("gated", 4096, 14336),
        "down": ("plain", 14336, 4096),
        "head": ("logits", 4096, 128256),
    },
    "0.6b": {
        "qkv": ("plain", 1024, 4096),
        "out": ("plain", 2048, 1024),
        "gate_up": ("gated", 1024, 3072),
        "down": ("plain", 3072, 1024),
        "head": ("logits", 1024, 151936),
    },
}
"""The weights of a Llama of 8B and of a Qwen3 of 0.6B: form, K, N."""
ODD: tuple[tuple[Form, int, int], ...] = (
    ("plain", 300, 72),
    ("gated", 256, 40),
    ("logits", 128, 100),
)


@dataclasses.dataclass(frozen=True)
class Case:
    """T rows of K times a weight with N columns, after a norm or not."""

    name: str
    form: Form
    T: int
    K: int
    N: int
    normed: bool = False

    @property
    def weight_shape(self) -> tuple[int, ...]:
        shapes = {"plain": (self.K, self.N), "gated": (self.K, 2, self.N)}
        return shapes.get(self.form, (self.N, self.K))


def _real(model: str, what: str, T: int, *, normed: bool) -> Case:
    form, K, N = MODELS[model][what]
    name = f"{model} {what}{' normed' * normed} {T} x {K} x {N}"
    return Case(name, form, T, K, N, normed)


REAL = tuple(
    _real(model, what, T, normed=normed)
    for model, whats in MODELS.items()
    for what in whats
    for normed in ((False, True) if what in NORMED else (False,))
    for T in FEW
) + tuple(_real("8b", "gate_up", T, normed=False) for T in MANY)
SMALL = tuple(
    Case(f"{form}{' normed' * normed} {T} x {K} x {N}", form, T, K, N, normed)
    for form, K, N in ODD
    for T in (1, 5)
    for normed in (False, True)
)
"""Odd ones, small enough for an interpreter."""


class Inputs(NamedTuple):
    """The arrays of one call; delta and scale are None where there is no norm."""

    x: Array
    w: Array
    delta: Array | None
    scale: Array | None


def make_inputs(case: Case, seed: int, dtype=jnp.bfloat16) -> Inputs:
    """Random arrays, such that values of the result are about 1."""
    keys = jax.random.split(jax.random.key(seed), 4)

    def draw(i: int, *shape: int) -> Array:
        return jax.random.normal(keys[i], shape, dtype)

    x, w = draw(0, case.T, case.K), draw(1, *case.weight_shape) * case.K**-0.5
    if not case.normed:
        return Inputs(x, w, None, None)
    return Inputs(x, w, draw(2, case.T, case.K), 1 + draw(3, case.K) * 0.2)

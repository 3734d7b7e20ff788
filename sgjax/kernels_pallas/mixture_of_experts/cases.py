"""Named mixtures, of models that are served and odd ones: for tests and benchmarks."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sgjax.kernels_pallas.activations import Gating
from sgjax.kernels_pallas.mixture_of_experts import Experts

Routing = Literal["even", "uneven", "one", "elsewhere", "padded"]
"""Tokens go to experts by chance; most to a few, and to some nobody; all to the same; half of the
choices are of experts that are not here; or half of the tokens are padding, which has no expert."""


@dataclasses.dataclass(frozen=True)
class Case:
    """T tokens with `top` of E experts each, of width X."""

    name: str
    T: int
    E: int
    top: int
    D: int
    X: int
    routing: Routing = "even"
    biased: bool = False
    activation: Gating = "silu"


mixtral = functools.partial(Case, E=8, top=2, D=4096, X=14336)
qwen3_30b = functools.partial(Case, E=128, top=8, D=2048, X=768)
deepseek_v2_lite = functools.partial(Case, E=64, top=6, D=2048, X=1408)
TOKENS = (1, 2, 4, 16, 64, 128, 256, 1024, 2048)
REAL = tuple(
    model(f"{name} {T}", T)
    for name, model in (
        ("mixtral-8x7b", mixtral),
        ("qwen3-30b-a3b", qwen3_30b),
        ("deepseek-v2-lite", deepseek_v2_lite),
    )
    for T in TOKENS
)
SMALL = (
    Case("one token", 1, 4, 2, 32, 16),
    Case("one token, half of it elsewhere", 1, 4, 4, 32, 16, "elsewhere"),
    Case("one token, and biases", 1, 4, 3, 72, 40, "even", True, "gelu_tanh"),
    Case("two tokens, wider than a step", 2, 3, 2, 1040, 300),
    Case("two tokens, one of them padding", 2, 5, 3, 48, 24, "padded"),
    Case("few tokens", 5, 4, 2, 48, 24),
    Case("as many tokens as fill blocks", 64, 4, 2, 64, 32),
    Case("many tokens, few for each", 40, 16, 3, 32, 48, "uneven"),
    Case("all to one expert", 33, 4, 2, 32, 16, "one"),
    Case("half of it elsewhere", 20, 4, 4, 32, 16, "elsewhere"),
    Case("half of it padding", 11, 4, 2, 32, 16, "padded"),
    Case("biases and a clamped gate", 9, 4, 2, 40, 24, "uneven", True, "clamped_silu"),
    Case("biases and GELU", 70, 3, 1, 32, 72, "uneven", True, "gelu_tanh"),
)
"""Odd ones, small enough for an interpreter."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The arrays of one call."""

    x: Array
    ids: Array
    weights: Array
    experts: Experts


def make_inputs(case: Case, seed: int, dtype=jnp.bfloat16) -> Inputs:
    """Random arrays, such that values of the result are about 1."""
    keys = jax.random.split(jax.random.key(seed), 6)

    def draw(i: int, *shape: int, scale: float = 1.0) -> Array:
        return (jax.random.normal(keys[i], shape, jnp.float32) * scale).astype(dtype)

    E, D, X = case.E, case.D, case.X
    biases = (draw(3, E, 2, X, scale=0.5), draw(4, E, D, scale=0.5)) if case.biased else ()
    experts = Experts(draw(1, E, D, 2, X, scale=D**-0.5), draw(2, E, X, D, scale=X**-0.5), *biases)
    weights = jax.random.uniform(keys[5], (case.T, case.top), jnp.float32, 0.2, 1.0)
    return Inputs(draw(0, case.T, D), jnp.asarray(make_ids(case, seed)), weights, experts)


def make_ids(case: Case, seed: int) -> np.ndarray:
    """i32[T, top]: experts of each token, no two alike unless all are."""
    host = np.random.default_rng(seed)
    if case.routing == "one":
        return np.full((case.T, case.top), case.E // 2, np.int32)
    num_experts = 2 * case.E if case.routing == "elsewhere" else case.E
    chance = np.ones(num_experts)
    if case.routing == "uneven" and num_experts > case.top:
        chance = 2.0 ** -np.arange(num_experts)
        chance[-1] = 0.0
    keys = np.log(host.uniform(size=(case.T, num_experts))) / np.maximum(chance, 1e-30)
    ids = np.argsort(-keys, axis=1)[:, : case.top].astype(np.int32)
    if case.routing == "padded":
        ids[case.T // 2 :] = -1
    return ids

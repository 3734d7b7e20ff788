"""Shapes and dtypes of arrays, checked at every call of an annotated function."""

from collections.abc import Callable
from typing import TypeVar

from beartype import beartype
from jaxtyping import install_import_hook

Function = TypeVar("Function", bound=Callable)

# Modules whose functions take and return arrays. Host logic is left out: it checks its own input,
# and tests hand it wrong types on purpose.
ARRAY_MODULES = [
    "sgjax.cache.kv_cache",
    "sgjax.engine.runner",
    "sgjax.engine.sampler",
    "sgjax.engine.step",
    "sgjax.kernels_pallas",
    "sgjax.layers",
    "sgjax.models",
]


def checked(function: Function) -> Function:
    """The function, with its types checked. Constructors are left alone: JAX rebuilds pytrees with
    whatever it keeps in an array's place (shapes while it lowers, for one)."""
    return function if function.__name__ == "__init__" else beartype(function)


def check_from_now_on() -> None:
    """Checks the array modules as they are imported."""
    install_import_hook(ARRAY_MODULES, "tests.shapes.checked")

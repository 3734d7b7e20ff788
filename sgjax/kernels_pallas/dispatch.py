"""Which implementation of an operation runs."""

import importlib
from types import ModuleType

import jax

IMPLEMENTATIONS = ("reference", "triton")


def implementation_of(op: str, name: str | None) -> ModuleType:
    """The module `op`.`name`; None: "triton" where JAX's default devices are CUDA's, or else
    "reference"."""
    if name is None:
        name = "triton" if jax.default_backend() == "gpu" else "reference"
    if name not in IMPLEMENTATIONS:
        raise ValueError(
            f"{op.rpartition('.')[2]} has no implementation {name!r}: "
            f"pass one of {', '.join(IMPLEMENTATIONS)}, or None for the best on this platform."
        )
    return importlib.import_module(f"{op}.{name}")

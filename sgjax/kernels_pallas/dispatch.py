"""Which implementation of an operation runs."""

import importlib
import importlib.util
from types import ModuleType

import jax

IMPLEMENTATIONS = ("reference", "triton", "mosaic")
"""Not every operation has the last one."""


def implementation_of(op: str, name: str | None) -> ModuleType:
    """The module `op`.`name`; None: "triton" where JAX's default devices are CUDA's, or else
    "reference"."""
    if name is None:
        name = "triton" if jax.default_backend() == "gpu" else "reference"
    known = [one for one in IMPLEMENTATIONS if importlib.util.find_spec(f"{op}.{one}")]
    if name not in known:
        raise ValueError(
            f"{op.rpartition('.')[2]} has no implementation {name!r}: "
            f"pass one of {', '.join(known)}, or None for the best on this platform."
        )
    return importlib.import_module(f"{op}.{name}")

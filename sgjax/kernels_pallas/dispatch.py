"""Which implementation of an operation runs."""

import importlib
from types import ModuleType

from sgjax.kernels_pallas.block_sizes import device_kind

IMPLEMENTATIONS = ("reference", "triton")


def implementation_of(op: str, name: str | None) -> ModuleType:
    """The module `op`.`name`; None: "triton" where it is traced for a GPU, or else "reference"."""
    if name is None:
        name = "reference" if device_kind() is None else "triton"
    if name not in IMPLEMENTATIONS:
        raise ValueError(
            f"{op.rpartition('.')[2]} has no implementation {name!r}: "
            f"pass one of {', '.join(IMPLEMENTATIONS)}, or None for the best on this platform."
        )
    return importlib.import_module(f"{op}.{name}")

"""Tuned block sizes of the kernels: data, one file a GPU, in configs/kernels/."""

import functools
import importlib.resources
import json
import pathlib

import jax


def device_kind() -> str | None:
    """The GPU that is traced for, "NVIDIA H200" say; None where it is none.

    That is what `jax.sharding.use_abstract_mesh` says, of devices that need not be there; or else
    what JAX computes on by default.
    """
    device = _device()
    return device.device_kind if device.platform == "gpu" else None


def num_multiprocessors() -> int:
    """Of the GPU that is traced for."""
    device = _device()
    return getattr(device, "num_cores", None) or device.core_count


def _device():
    return jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]


def tuned_sizes(op: str, kernel: str, row_bytes: int, kind: str | None) -> dict[str, int]:
    """What configs/kernels has for `kernel` of `op` on a device of `kind`; empty where nothing.

    Entries are kept by the bytes of one row (of one head, of a weight), since these decide what
    fits: the smallest entry of at least `row_bytes` is taken.
    """
    entries = _file(kind).get(op, {}).get(kernel, {}) if kind else {}
    fitting = [int(size) for size in entries if int(size) >= row_bytes]
    return entries[str(min(fitting))] if fitting else {}


@functools.cache
def _file(kind: str) -> dict:
    """The file of a device kind: "NVIDIA H200" is configs/kernels/nvidia-h200.json."""
    name = kind.lower().replace(" ", "-") + ".json"
    for folder in _folders():
        if (path := folder / "kernels" / name).is_file():
            return json.loads(path.read_text())
    return {}


def _folders():
    """Where configs/ may be: inside the installed package, or beside it in the repository."""
    package = importlib.resources.files("sgjax")
    yield package / "configs"
    if isinstance(package, pathlib.Path):
        yield package.parent / "configs"

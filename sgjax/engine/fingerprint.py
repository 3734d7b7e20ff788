"""A digest of all that decides what programs are traced to.

Where two are equal, the programs are. To be safe, it holds much that decides nothing: all of the
package's source and data, whole lists of settings. Not in it is what nobody can see from outside:
functions that were replaced at run time, and libraries that were edited without a new version.
"""

import hashlib
import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import jax
from jax.sharding import Mesh

import sgjax

_SUFFIXES = (".py", ".json")
_LIBRARIES = ("jax", "jaxlib", "flax", "jaxtyping", "numpy", "ml_dtypes")
_PREFIXES = ("JAX_", "XLA_", "TF_", "LIBTPU_")
_LEFT_OUT = ("JAX_PLATFORMS", "jax_platforms", "JAX_LOGGING_LEVEL", "jax_logging_level")
"""Settings that decide which devices there are, or what is logged, and nothing else: who traces for
others has other devices, and JAX sets the level of its log by itself on a GPU."""


def fingerprint(mesh: Mesh, *of_model: object) -> str | None:
    """For programs that run on `mesh`, of a model that is told from others by the `repr` of
    `of_model`; None where source has changed since this process began: it may be running either.
    """
    # A file from the future is from another clock, and says nothing.
    if any(sgjax.BEGAN_S <= path.stat().st_mtime <= time.time() for path in _own_files()):
        return None
    return digest([*surroundings(), *_machine(mesh), *map(repr, of_model)])


def surroundings() -> list[str]:
    """What of it is neither the devices nor the model: whoever traces for others must have the
    same."""
    return [*_environment(), f"source {digest_of(_own_files())}"]


def digest(parts: Iterable[str]) -> str:
    """Of a list of texts: where one ends and the next begins counts too."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode()
        sha.update(b"%d:" % len(data))
        sha.update(data)
    return sha.hexdigest()


def _own_files() -> list[Path]:
    return source_files(Path(sgjax.__file__).parent)


def source_files(package: Path) -> list[Path]:
    """All that the package's programs are made from: code, and data inside it or beside it."""
    folders = package, package.parent / "configs"
    found = (path for folder in folders for path in folder.rglob("*") if path.suffix in _SUFFIXES)
    return sorted(found)


def digest_of(files: Iterable[Path]) -> str:
    """Of their paths and contents."""
    return digest(
        text
        for path in files
        for text in (str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    )


def _environment() -> Iterable[str]:
    """Versions and settings of whatever traces and lowers."""
    yield platform.python_version()
    yield from (f"{name} {version(name)}" for name in _LIBRARIES)
    yield from (f"{name}={os.environ[name]}" for name in sorted(os.environ) if _is_setting(name))
    settings = sorted(jax.config.values.items())
    yield from (f"{name}={value!r}" for name, value in settings if name not in _LEFT_OUT)


def _is_setting(variable: str) -> bool:
    return variable.startswith(_PREFIXES) and variable not in _LEFT_OUT


def _machine(mesh: Mesh) -> Iterable[str]:
    """The devices, also those that are left idle: a kernel may be chosen by the first of all."""
    yield repr((mesh, jax.default_backend(), jax.process_count()))
    for device in (*mesh.devices.flat, *jax.devices()):
        capability = getattr(device, "compute_capability", None)
        yield f"{device.id} {device.platform} {device.device_kind} {capability}"
    yield mesh.devices.flat[0].client.platform_version

"""Traced programs on the disk: a warm start traces and lowers nothing.

JAX's cache keeps what a program is compiled to, but finds it by what it is lowered to; and to trace
and lower all programs of a model is Python of 10 to 20 s. So that is kept too, as `jax.export`
writes it, found by a fingerprint of all that decides it. Compiling goes on from there as ever,
through JAX's cache.
"""

import dataclasses
import functools
import hashlib
import importlib
import logging
import os
import tempfile
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import jax
from jax import export
from jax.sharding import Mesh, NamedSharding, Sharding

from sgjax.engine.fingerprint import digest, fingerprint

logger = logging.getLogger("sgjax.engine")

Donate = int | tuple[int, ...]

_MOSAIC = "mosaic_gpu_v2"
# How JAX hands Triton kernels to XLA may change with JAX's version, which the fingerprint holds.
_ALLOWED = [
    export.DisabledSafetyCheck.custom_call(name) for name in ("__gpu$xla.gpu.triton", _MOSAIC)
]
_CHECKSUM_BYTES = hashlib.sha256().digest_size


@dataclasses.dataclass(frozen=True)
class Untraced:
    """A program that is still a function, and its abstract arguments. The `repr` of `key` tells it
    from others; what it depends on beside these, the fingerprint of its model must hold."""

    key: Hashable
    function: Callable[..., Any]
    given: tuple[Any, ...]
    donate: Donate = ()
    out_shardings: Any = None


class Traces:
    """What programs are lowered to, in `folder`; None: nothing is kept.

    `platform`: what is traced for, as JAX's exports call it; None: what JAX computes on.
    """

    def __init__(
        self, folder: Path | None = None, fingerprint: str = "", platform: str | None = None
    ):
        self.folder = folder
        self.fingerprint = fingerprint
        self._platforms = None if platform is None else [platform]
        self._new: list[tuple[Path, export.Exported]] = []

    @classmethod
    def of_model(cls, folder: Path | None, mesh: Mesh, *of_model: object) -> "Traces":
        """Those of a model that is told from others by the `repr` of `of_model`."""
        if folder is None:
            return cls()
        found = fingerprint(mesh, *of_model)
        if found is None:
            logger.info("Source was changed while the engine started: nothing traced is kept.")
            return cls()
        return cls(folder, found)

    def lower(self, program: Untraced) -> jax.stages.Lowered:
        """From the disk, or traced here."""
        function, traced = program.function, None
        if self.folder is not None:
            traced = _read(self.folder / self.name(program)) or self.trace(program)
        if traced is not None:
            function = _named_as(function, lambda *args: traced.call(*jax.tree.leaves(args)))
        options: Any = {"donate_argnums": program.donate, "out_shardings": program.out_shardings}
        return jax.jit(function, **options).lower(*program.given)

    def name(self, program: Untraced) -> str:
        """Of its file."""
        leaves, tree = jax.tree.flatten(program.given)
        inputs = (f"{x.shape} {x.dtype} {_text(x.sharding)}" for x in leaves)
        results, form = jax.tree.flatten(program.out_shardings)
        outputs = str([_text(place) for place in results]), str(form)
        return digest([self.fingerprint, repr(program.key), *outputs, str(tree), *inputs])

    def has(self, program: Untraced) -> bool:
        """Whether it is on the disk."""
        return self.folder is not None and (self.folder / self.name(program)).exists()

    def trace(self, program: Untraced) -> export.Exported | None:
        """Traces it anew, for `write` to keep; None: JAX cannot export it."""
        try:
            traced = self._export(program)
        except (ValueError, NotImplementedError) as error:
            logger.info("A program that JAX does not export is traced at every start: %s", error)
            return None
        if self.folder is not None:
            self._new.append((self.folder / self.name(program), traced))
        return traced

    def write(self) -> None:
        """Keeps what was traced anew."""
        new, self._new = self._new, []
        try:
            for path, traced in new:
                _write(path, traced.serialize())
        except OSError as error:
            logger.warning("Traced programs are not kept, the next start is slower: %s", error)

    def _export(self, program: Untraced) -> export.Exported:
        """As a function of the leaves of its arguments: not all trees of these can be written."""
        leaves, tree = jax.tree.flatten(program.given)
        function = program.function
        flat = _named_as(function, lambda *leaves: function(*jax.tree.unflatten(tree, leaves)))
        jitted = jax.jit(flat, out_shardings=program.out_shardings)
        export_ = export.export(jitted, platforms=self._platforms, disabled_checks=_ALLOWED)
        return export_(*leaves)


def _named_as(function: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """`other`, by the name of `function`, which the compiled program bears."""
    while isinstance(function, functools.partial):
        function = function.func
    other.__name__ = function.__name__
    return other


@functools.lru_cache
def _text(sharding: Sharding | None) -> str:
    """What matters of it: on devices that are not there, it says less of itself."""
    if not isinstance(sharding, NamedSharding):
        return repr(sharding)
    return f"{sharding.spec} of {dict(sharding.mesh.shape)}"


def _read(path: Path) -> export.Exported | None:
    """None where there is no such file, or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest() != checksum:
        return None
    if _MOSAIC.encode() in body:
        importlib.import_module("jax.experimental.mosaic.gpu")  # tells XLA where its runtime is
    return export.deserialize(bytearray(body))


def _write(path: Path, body: bytearray) -> None:
    """All of it or nothing: others may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(hashlib.sha256(body).digest() + body)
    os.replace(file.name, path)

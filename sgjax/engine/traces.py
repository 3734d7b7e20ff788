"""Traced programs on the disk: a warm start traces and lowers nothing.

JAX's cache keeps what a program is compiled to, but finds it by what it is lowered to; and to trace
and lower all programs of a model is Python of 10 to 20 s. So that is kept too, as `jax.export`
writes it, found by a fingerprint of all that decides it. Compiling goes on from there as ever,
through JAX's cache.
"""

import functools
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import jax
from jax import export
from jax.sharding import Mesh, Sharding

from sgjax.engine.fingerprint import digest, fingerprint

logger = logging.getLogger("sgjax.engine")

Donate = int | tuple[int, ...]

# How JAX hands Triton kernels to XLA may change with JAX's version, which the fingerprint holds.
_ALLOWED = [export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
_CHECKSUM_BYTES = hashlib.sha256().digest_size


class Traces:
    """What programs are lowered to, in `folder`; None: nothing is kept."""

    def __init__(self, folder: Path | None = None, fingerprint: str = ""):
        self._folder = folder
        self._fingerprint = fingerprint
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

    def lower(
        self,
        key: Hashable,
        function: Callable[..., Any],
        given: tuple[Any, ...],
        *,
        donate: Donate = (),
        out_shardings: Any = None,
    ) -> jax.stages.Lowered:
        """`function`, lowered for abstract arguments; the `repr` of `key` tells it from others.

        What it depends on beside key and arguments, the fingerprint must hold.
        """
        if self._folder is not None:
            path = self._folder / self._digest(key, given, out_shardings)
            if traced := _read(path) or self._trace(path, function, given, out_shardings):
                function = _named_as(function, lambda *args: traced.call(*jax.tree.leaves(args)))
        program = jax.jit(function, donate_argnums=donate, out_shardings=out_shardings)
        return program.lower(*given)

    def write(self) -> None:
        """Keeps what was traced anew."""
        new, self._new = self._new, []
        try:
            for path, traced in new:
                _write(path, traced.serialize())
        except OSError as error:
            logger.warning("Traced programs are not kept, the next start is slower: %s", error)

    def _digest(self, key: Hashable, given: tuple[Any, ...], out_shardings: Any) -> str:
        leaves, tree = jax.tree.flatten(given)
        inputs = (f"{x.shape} {x.dtype} {_text(x.sharding)}" for x in leaves)
        return digest([self._fingerprint, repr(key), repr(out_shardings), str(tree), *inputs])

    def _trace(
        self, path: Path, function: Callable[..., Any], given: tuple[Any, ...], out_shardings: Any
    ) -> export.Exported | None:
        """As a function of the leaves of its arguments: not all trees of these can be written."""
        leaves, tree = jax.tree.flatten(given)
        flat = _named_as(function, lambda *leaves: function(*jax.tree.unflatten(tree, leaves)))
        program = jax.jit(flat, out_shardings=out_shardings)
        try:
            traced = export.export(program, disabled_checks=_ALLOWED)(*leaves)
        except (ValueError, NotImplementedError) as error:
            logger.info("A program that JAX does not export is traced at every start: %s", error)
            return None
        self._new.append((path, traced))
        return traced


def _named_as(function: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """`other`, by the name of `function`, which the compiled program bears."""
    while isinstance(function, functools.partial):
        function = function.func
    other.__name__ = function.__name__
    return other


@functools.lru_cache
def _text(sharding: Sharding | None) -> str:
    return repr(sharding)


def _read(path: Path) -> export.Exported | None:
    """None where there is no such file, or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest() != checksum:
        return None
    return export.deserialize(bytearray(body))


def _write(path: Path, body: bytearray) -> None:
    """All of it or nothing: others may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(hashlib.sha256(body).digest() + body)
    os.replace(file.name, path)

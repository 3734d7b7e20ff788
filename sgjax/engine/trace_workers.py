"""Processes that trace programs for an engine: tracing is Python, of one thread a process.

They need no devices, and no protocol: what a process has traced is in the folder of traces, or not
yet. The engine takes what is there and traces the others itself, from the other end. So it waits
for nobody, and a process that fails costs no more than it would have saved.
"""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from sgjax.engine.buckets import Bucket
from sgjax.engine.programs import Key
from sgjax.engine.step import CacheShape
from sgjax.engine.traces import Traces, Untraced

logger = logging.getLogger("sgjax.engine")

WORKER = ("-m", "sgjax.engine.trace_worker")
"""What Python runs as such a process."""

_LEAST_SHARE = 12
"""Programs of a process; fewer take no longer than to import JAX."""
_END_S = 1.0


class Device(msgspec.Struct, frozen=True):
    """What is traced for, as in a `jax.sharding.AbstractDevice`."""

    device_kind: str
    num_cores: int | None
    platform: str


class Task(msgspec.Struct, frozen=True):
    """What a worker is told: from this it makes the programs that the engine has."""

    model_folder: str
    context_length: int | None
    is_embedding: bool
    tp_size: int
    ep_size: int
    cfg: str
    """The ModelConfig that this must give, in words."""
    attention: str | None
    dtype: str
    shape: CacheShape
    buckets: list[Bucket]
    has_grammars: bool
    device: Device
    platform: str
    """The device's, as JAX's exports call it."""
    compile_cache_dir: str | None
    traces_folder: str
    fingerprint: str
    surroundings: list[str]
    """What must be the same where they are traced (`fingerprint.py`)."""
    names: list[str] = []
    """Of the files to write, in their order: a program's name says all that decides it."""


class TraceWorkers:
    """Helpers of `Programs`: so many processes, or fewer."""

    def __init__(self, task: Task, programs: Mapping[Key, Untraced], traces: Traces, count: int):
        self._task = task
        self._programs = programs
        self._traces = traces
        self._count = count
        self._paths: dict[Key, Path] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, keys: Sequence[Key]) -> None:
        """They share what is not there yet; where that is little, none is started."""
        folder = Path(self._task.traces_folder)
        paths = {key: folder / self._traces.name(self._programs[key]) for key in keys}
        missing = [path.name for path in reversed(paths.values()) if not path.exists()]
        count = min(self._count, len(missing) // _LEAST_SHARE)
        with contextlib.suppress(OSError):  # no process, no help
            for names in shares(missing, count):
                self._start(names)
        if self._processes:
            self._paths = paths

    def has_traced(self, key: Key) -> bool:
        return key in self._paths and self._paths[key].exists()

    def close(self) -> None:
        """A process ends when its standard input does, but for what it is writing."""
        processes, self._processes = self._processes, []
        for process in processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, names: list[str]) -> None:
        logger.info("A process begins to trace %d programs.", len(names))
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        process = subprocess.Popen(
            [sys.executable, *WORKER], stdin=subprocess.PIPE, env=environment
        )
        self._processes.append(process)
        assert process.stdin is not None
        task = msgspec.structs.replace(self._task, names=names)
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        process.stdin.flush()


def shares(names: Sequence[str], count: int) -> list[list[str]]:
    """Dealt out to and fro, 0 1 1 0 0 1: of two neighbours it is often the same that takes longer,
    a step's largest size, or tokens drawn by chance."""
    found: list[list[str]] = [[] for _ in range(count)]
    for i, name in enumerate(names):
        turn = i % (2 * count)
        found[min(turn, 2 * count - 1 - turn)].append(name)
    return found

"""Compiled programs by name: made ahead of time, in threads, and never on the way of a request."""

import dataclasses
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
from jax import monitoring

from sgjax.engine.compiler_options import PLAIN, Compilation

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"

Key = Hashable
Lower = Callable[[], jax.stages.Lowered]


@dataclasses.dataclass(frozen=True)
class Source:
    """How a program is traced and lowered, and how it is to be compiled."""

    lower: Lower
    compilation: Compilation = PLAIN


class Programs:
    """A closed set of programs. `serving` ones are compiled first; the rest behind, while serving.

    Tracing and lowering is Python, one program at a time; compilation proper releases the
    interpreter and runs in `num_threads`, but for what the compiler measures on the device: these
    programs go one after another, so that they do not measure each other.
    """

    def __init__(self, sources: dict[Key, Source], num_threads: int):
        self._sources = sources
        self._compiled: dict[Key, Any] = {}
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="sgjax-compile")
        self._measuring = ThreadPoolExecutor(1, thread_name_prefix="sgjax-measure")
        self._tracing = threading.Lock()
        self._futures: list[Future[None]] = []
        self._closed = False

    def __getitem__(self, key: Key) -> Any:
        return self._compiled[key]

    def __contains__(self, key: Key) -> bool:
        return key in self._compiled

    @property
    def num_compiled(self) -> int:
        return len(self._compiled)

    @property
    def is_complete(self) -> bool:
        return len(self._compiled) == len(self._sources)

    def compile(self, keys: Iterable[Key], on_done: Callable[[int, int, Key], None]) -> None:
        """Compiles `keys` and waits for them; `on_done(done, total, key)` after each."""
        keys = list(keys)
        futures = {self._submit(key): key for key in keys}
        for done, (future, key) in enumerate(futures.items(), start=1):
            future.result()
            on_done(done, len(keys), key)

    def compile_rest(self) -> None:
        """Starts to compile whatever is missing, in the background."""
        self._futures = [self._submit(key) for key in self._sources if key not in self._compiled]

    def failure(self) -> BaseException | None:
        """What went wrong in the background, if anything did."""
        for future in self._futures:
            if future.done() and not future.cancelled() and future.exception():
                return future.exception()
        return None

    def close(self, *, wait: bool) -> None:
        """Gives up what has not begun, and may wait for what has."""
        self._closed = True
        for pool in (self._pool, self._measuring):
            pool.shutdown(wait=wait, cancel_futures=True)

    def _submit(self, key: Key) -> "Future[None]":
        measures = self._sources[key].compilation.measures
        pool = self._measuring if measures else self._pool
        return pool.submit(self._compile_one, key)

    def _compile_one(self, key: Key) -> None:
        if self._closed or key in self._compiled:
            return
        source = self._sources[key]
        with self._tracing:
            lowered = source.lower()
        self._compiled[key] = lowered.compile(source.compilation.options or None)


class CompileCounter:
    """Counts what JAX compiles in one thread: the engine's own must compile nothing once ready."""

    def __init__(self) -> None:
        self.count = 0
        self._thread = threading.get_ident()
        monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILE_EVENT and threading.get_ident() == self._thread:
            self.count += 1

    def close(self) -> None:
        monitoring.unregister_event_duration_listener(self._listen)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

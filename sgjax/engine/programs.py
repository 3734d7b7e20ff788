"""Compiled programs by name: made ahead of time, in threads, and never on the way of a request."""

import contextlib
import dataclasses
import gc
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import jax
from jax import monitoring

from sgjax.engine.compiler_options import PLAIN, Compilation

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"

ENOUGH_THREADS = 8
"""With fewer, what is compiled beside what serving needs would hold that up."""

_RARELY = 100_000
"""Objects that are made between two collections."""

Key = Hashable
Lower = Callable[[], jax.stages.Lowered]
OnDone = Callable[[int, int, Key], None]
Begun = dict[Key, Future[Future[None]]]
"""Futures of being traced, each of which gives one of being compiled."""


@dataclasses.dataclass(frozen=True)
class Source:
    """How a program is traced and lowered, and how it is to be compiled."""

    lower: Lower
    compilation: Compilation = PLAIN
    is_quick: bool = False
    """Whether it is traced at once, so that others have something to compile."""


class Helpers(Protocol):
    """Others who trace meanwhile what is not needed first."""

    def start(self, keys: Sequence[Key]) -> None:
        """They may begin with the last of them."""

    def has_traced(self, key: Key) -> bool:
        """Whether lowering it is quick now."""
        ...

    def close(self) -> None:
        """They need not go on. May be called more than once."""


class _Nobody:
    def start(self, keys: Sequence[Key]) -> None:
        pass

    def has_traced(self, key: Key) -> bool:
        return False

    def close(self) -> None:
        pass


ALONE = _Nobody()


class Programs:
    """A closed set of programs: what serving needs is compiled first, and the rest behind it.

    One thread traces and lowers (that is Python), `num_threads` compile (that is not). It goes from
    the first to the last, and `helpers` the other way: what one of these has traced, it takes at
    once, and waits for none of them. What the compiler measures on the device it measures in one
    thread, so that nothing is measured beside something else; of programs that measure the same,
    the first does, and the others find what it found. Before anything else is compiled, what comes
    first has been.
    """

    def __init__(
        self,
        sources: dict[Key, Source],
        num_threads: int,
        keep: Callable[[], None] = lambda: None,
        helpers: Helpers = ALONE,
    ):
        self._sources = sources
        self._num_threads = num_threads
        self._keep = keep
        self._helpers = helpers
        self._compiled: dict[Key, Any] = {}
        self._tracing = ThreadPoolExecutor(1, thread_name_prefix="sgjax-trace")
        self._compiling = ThreadPoolExecutor(num_threads, thread_name_prefix="sgjax-compile")
        self._measuring = ThreadPoolExecutor(1, thread_name_prefix="sgjax-measure")
        self._asked: set[Hashable] = set()
        self._measured: dict[Hashable, Future[None]] = {}
        self._foremost: list[Future[None]] = []
        self._futures: list[Future[Future[None]]] = []

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

    @property
    def is_measuring(self) -> bool:
        """Whether anything is or will be measured on the device: nothing else should run there."""
        return any(
            what not in self._measured or not self._measured[what].done() for what in self._asked
        )

    def compile(self, keys: Iterable[Key], on_done: OnDone) -> None:
        """Compiles `keys` and waits for them; `on_done(done, total, key)` after each."""
        _wait(self._begin(keys), on_done)

    def begin(self, first: Iterable[Key]) -> Begun:
        """Begins to compile everything, `first` before the rest, and returns at once; `finish` must
        follow. `keep` is called behind the last that is traced, while others compile.

        Where there are threads to spare, the rest begins while what is first compiles.
        """
        foremost = [key for key, source in self._sources.items() if source.compilation.comes_first]
        begun = self._begin([*foremost, *first])
        if self._num_threads >= ENOUGH_THREADS:
            self._begin_rest(begun)
        return begun

    def finish(self, begun: Begun, on_done: OnDone) -> None:
        """Waits for what is first, as `compile` does; then the rest goes on by itself."""
        _wait(begun, on_done)
        if self._num_threads < ENOUGH_THREADS:
            self._begin_rest(begun)

    def failure(self) -> BaseException | None:
        """What went wrong in the background, if anything did."""
        for future in self._futures:
            failure = _failure(future)
            if failure is None and future.done() and not future.cancelled():
                failure = _failure(future.result())
            if failure is not None:
                return failure
        return None

    def close(self, *, wait: bool) -> None:
        """Gives up what has not begun, and may wait for what has, and keep it."""
        for pool in (self._tracing, self._measuring, self._compiling):
            pool.shutdown(wait=wait, cancel_futures=True)
        self._helpers.close()
        if wait:
            self._keep()

    def _begin_rest(self, begun: Begun) -> None:
        rest = self._in_order(key for key in self._sources if key not in begun)
        self._helpers.start(rest)
        self._futures = [self._tracing.submit(self._trace_next, rest) for _ in range(len(rest))]
        self._tracing.submit(self._end_tracing)

    def _begin(self, keys: Iterable[Key]) -> Begun:
        return {key: self._tracing.submit(self._trace, key) for key in self._in_order(keys)}

    def _in_order(self, keys: Iterable[Key]) -> list[Key]:
        """What all others wait for; then what takes longest: measuring, one after the other; what
        is quick, before the second of these; and last, what waits for measuring."""
        foremost, quick, first, plain, again = [], [], [], [], []
        for key in keys:
            what = self._sources[key].compilation.measures
            if self._sources[key].compilation.comes_first:
                foremost.append(key)
            elif self._sources[key].is_quick:
                quick.append(key)
            elif what is None:
                plain.append(key)
            elif what in self._asked:
                again.append(key)
            else:
                self._asked.add(what)
                first.append(key)
        return [*foremost, *first[:1], *quick, *first[1:], *plain, *again]

    def _trace_next(self, left: list[Key]) -> "Future[None]":
        """The first of them that others have traced; or else the first."""
        key = next((key for key in left if self._is_at_hand(key)), left[0])
        left.remove(key)
        return self._trace(key)

    def _is_at_hand(self, key: Key) -> bool:
        """Whether neither tracing nor what others measure would hold it up."""
        what = self._sources[key].compilation.measures
        is_held_up = what in self._measured and not self._measured[what].done()
        return not is_held_up and self._helpers.has_traced(key)

    def _end_tracing(self) -> None:
        self._helpers.close()
        self._keep()

    def _trace(self, key: Key) -> "Future[None]":
        """Lowers a program and hands it on to be compiled."""
        source = self._sources[key]
        what = source.compilation.measures
        with rare_collections():
            lowered = source.lower()
        if source.compilation.comes_first:
            self._foremost.append(self._hand_on(self._compiling, key, lowered))
            return self._foremost[-1]
        if what is None:
            return self._hand_on(self._compiling, key, lowered)
        if what not in self._measured:
            self._measured[what] = self._hand_on(self._measuring, key, lowered)
            return self._measured[what]
        self._measured[what].exception()  # waits, also for one that fails or is given up
        return self._hand_on(self._compiling, key, lowered)

    def _hand_on(
        self, pool: ThreadPoolExecutor, key: Key, lowered: jax.stages.Lowered
    ) -> "Future[None]":
        """No pool takes anything once Python ends, or `close` was called: then all that is left is
        given up, which is no failure."""
        try:
            return pool.submit(self._compile, key, lowered)
        except RuntimeError as error:
            if "after" not in str(error):  # no thread could be started
                raise
            self.close(wait=False)
            given_up: Future[None] = Future()
            given_up.cancel()
            return given_up

    def _compile(self, key: Key, lowered: jax.stages.Lowered) -> None:
        compilation = self._sources[key].compilation
        if not compilation.comes_first:
            for before in self._foremost:  # all have a thread, or are before this in their queue
                before.exception()  # waits, also for one that fails
        self._compiled[key] = lowered.compile(compilation.options or None)


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Tracing makes very much that lives: to look for garbage in it as often as Python does took a
    sixth of the time."""
    first, *others = gc.get_threshold()
    gc.set_threshold(first and _RARELY, *others)  # 0: never
    try:
        yield
    finally:
        gc.set_threshold(first, *others)


def _wait(begun: Begun, on_done: OnDone) -> None:
    for done, (key, future) in enumerate(begun.items(), start=1):
        future.result().result()  # traced, then compiled
        on_done(done, len(begun), key)


def _failure(future: "Future[Any]") -> BaseException | None:
    if future.done() and not future.cancelled():
        return future.exception()
    return None


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

"""Values that are on their way, and texts that grow."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from sgjax.errors import ProgramFailed

Listener = Callable[["str | None"], object]


class Feed:
    """A text that grows until it is closed; those who read it hear all of it. For any thread."""

    def __init__(self) -> None:
        # A reader that is collected leaves, wherever its collection happens.
        self._lock = threading.RLock()
        self._pieces: list[str] = []
        self._listeners: tuple[Listener, ...] = ()
        self.is_closed = False
        self.error: ProgramFailed | None = None
        """Why it ended before its end."""

    @property
    def text(self) -> str:
        with self._lock:
            return "".join(self._pieces)

    def put(self, piece: str) -> None:
        """Nothing, if it is closed."""
        with self._lock:
            if not piece or self.is_closed:
                return
            self._pieces.append(piece)
            self._tell(piece)

    def close(self, error: ProgramFailed | None = None) -> None:
        """The first call counts."""
        with self._lock:
            if self.is_closed:
                return
            self.error, self.is_closed = error, True
            self._tell(None)
            self._listeners = ()

    def listen(self, listener: Listener) -> None:
        """Calls `listener` with what there is, each new piece, and None at the end."""
        with self._lock:
            if self._pieces:
                listener("".join(self._pieces))
            if self.is_closed:
                listener(None)
            else:
                self._listeners += (listener,)

    def leave(self, listener: Listener) -> None:
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each != listener)

    def when_closed(self, act: Callable[[], object]) -> None:
        """Acts once it is closed."""
        self.listen(lambda piece: act() if piece is None else None)

    def wait(self) -> None:
        """Until it is closed."""
        if not self.is_closed:
            closed = threading.Lock()  # a Future costs three times as much
            closed.acquire()
            self.when_closed(closed.release)
            closed.acquire()

    def __iter__(self) -> Iterator[str]:
        """Pieces, as they come. Raises what ended it before its end."""
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.listen(pieces.put)
        try:
            while (piece := pieces.get()) is not None:
                yield piece
        finally:
            self.leave(pieces.put)
        self._raise()

    async def __aiter__(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def hear(piece: str | None) -> None:
            with contextlib.suppress(RuntimeError):  # its loop was closed: nobody reads any more
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        self.listen(hear)
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
        finally:
            self.leave(hear)
        self._raise()

    def _tell(self, piece: str | None) -> None:
        for listener in self._listeners:
            listener(piece)

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error.again()


class Variable:
    """A value that the program makes. It is there once `feed` is closed."""

    def __init__(self, name: str):
        self.name = name
        self.feed = Feed()
        """Its text, as it comes."""
        self.value: Any = None
        self.meta_info: Any = None
        """The backend's words about it."""
        self.is_open = False
        """It is that of a scope that the program is still in."""

    def set(self, value: Any, meta_info: Any = None) -> None:
        """Nothing, if it was given up."""
        if not self.feed.is_closed:
            self.value, self.meta_info = value, meta_info
            self.feed.close()

    def fail(self, error: ProgramFailed) -> None:
        """Nothing, if it has its value."""
        self.feed.close(error)

    def get(self) -> Any:
        """Waits for the value.

        Raises:
            ProgramFailed: there will be none.
        """
        self.feed.wait()
        if self.feed.error is not None:
            raise self.feed.error.again()
        return self.value


def known(name: str, value: Any) -> Variable:
    """A variable that has its value."""
    variable = Variable(name)
    if isinstance(value, str):
        variable.feed.put(value)
    variable.set(value)
    return variable


def gathered(name: str, parts: list[Variable]) -> Variable:
    """The list of values of several, when all are there."""
    whole = Variable(name)
    lock = threading.Lock()
    num_left = len(parts)

    def done() -> None:
        nonlocal num_left
        with lock:
            num_left -= 1
            is_last = num_left == 0
        if not is_last:
            return
        error = next((part.feed.error for part in parts if part.feed.error is not None), None)
        if error is not None:
            whole.fail(error)
        else:
            whole.set([part.value for part in parts], [part.meta_info for part in parts])

    for part in parts:
        part.feed.when_closed(done)
    return whole

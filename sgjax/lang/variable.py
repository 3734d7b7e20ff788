"""A program's variables: values that are on their way, and texts that grow."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Any

Listener = Callable[["str | None"], object]


class Feed:
    """A text that grows until it is closed; those who read it hear all of it. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._listeners: list[Listener] = []
        self._is_closed = False
        self.error: BaseException | None = None
        """Why it ended before its end."""

    @property
    def text(self) -> str:
        with self._lock:
            return "".join(self._pieces)

    def put(self, piece: str) -> None:
        if not piece:
            return
        with self._lock:
            self._pieces.append(piece)
            listeners = list(self._listeners)
            for listener in listeners:
                listener(piece)

    def close(self, error: BaseException | None = None) -> None:
        """The first call counts."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed, self.error = True, error
            for listener in self._listeners:
                listener(None)

    def listen(self, listener: Listener) -> None:
        """Calls `listener` with what there is, each new piece, and None at the end."""
        with self._lock:
            if self._pieces:
                listener("".join(self._pieces))
            if self._is_closed:
                listener(None)
            else:
                self._listeners.append(listener)

    def __iter__(self) -> Iterator[str]:
        """Pieces, as they come. Raises what ended it before its end."""
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.listen(pieces.put)
        while (piece := pieces.get()) is not None:
            yield piece
        if self.error is not None:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self.listen(lambda piece: loop.call_soon_threadsafe(pieces.put_nowait, piece))
        while (piece := await pieces.get()) is not None:
            yield piece
        if self.error is not None:
            raise self.error


class Variable:
    """A value that the program makes."""

    def __init__(self, name: str):
        self.name = name
        self.value: Future[Any] = Future()
        self.feed = Feed()
        """Its text, as it comes."""
        self.meta_info: Any = None
        """The backend's words about it."""

    def set(self, value: Any, meta_info: Any = None) -> None:
        self.meta_info = meta_info
        if not self.value.done():
            self.value.set_result(value)
        self.feed.close()

    def fail(self, error: BaseException) -> None:
        if not self.value.done():
            self.value.set_exception(error)
        self.feed.close(error)

    def get(self) -> Any:
        """Waits for the value.

        Raises:
            ProgramFailed: there will be none.
        """
        return self.value.result()


def known(name: str, value: Any) -> Variable:
    """A variable that has its value."""
    variable = Variable(name)
    if isinstance(value, str):
        variable.feed.put(value)
    variable.set(value)
    return variable

"""An asyncio loop in a thread of its own, for callers who have none or another."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

Value = TypeVar("Value")


class LoopThread:
    """Runs coroutines for other threads and other loops."""

    def __init__(self, name: str):
        self.loop = uvloop.new_event_loop()
        self._lock = threading.Lock()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> bool:
        """Calls it on the loop, and does not wait. False: the loop ends, and takes nothing more;
        what it took is done or cancelled when `join` returns."""
        with self._lock:
            if not self._is_closing:
                self.loop.call_soon_threadsafe(function, *arguments)
            return not self._is_closing

    def submit(self, work: Coroutine[Any, Any, Value]) -> "Future[Value]":
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Waits for the result. An interrupt of the wait cancels the work."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def await_(self, work: Coroutine[Any, Any, Value]) -> Value:
        """The same from a coroutine of another loop."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """Cancels what still runs and ends the thread. May be called twice."""
        with self._lock:
            if not self._is_closing:
                self._is_closing = True
                self.loop.call_soon_threadsafe(self.loop.stop)
        self.join()
        self.loop.close()

    def join(self) -> None:
        """Waits until all is done, of a loop that ends."""
        self._thread.join()

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        while tasks := asyncio.all_tasks(self.loop):  # what was on its way may have begun others
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())

"""An asyncio loop in a thread of its own, for callers who have none or another."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

Value = TypeVar("Value")


class LoopThread:
    """Runs coroutines for other threads and other loops."""

    def __init__(self, name: str):
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

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
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())

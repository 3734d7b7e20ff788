"""When the next request of a batch may start."""

import asyncio
from collections.abc import Callable

_POLL_S = 0.05


class Gate:
    """Lets in a few at a time, and none but one while others want all that the engine can do, so
    that who waits for an answer does not wait for a batch."""

    def __init__(self, limit: int, is_busy: Callable[[], bool]):
        self._places = asyncio.Semaphore(limit)
        self._is_busy = is_busy
        self._num_inside = 0

    async def enter(self) -> None:
        """Returns when it is one's turn: by arrival, so that batches take turns."""
        await self._places.acquire()
        try:
            while self._num_inside and self._is_busy():
                await asyncio.sleep(_POLL_S)
        except BaseException:
            self._places.release()
            raise
        self._num_inside += 1

    def leave(self) -> None:
        self._num_inside -= 1
        self._places.release()

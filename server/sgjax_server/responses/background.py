"""Responses that run on by themselves, and events that wait for whoever reads them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from sgjax_server.responses.output import Told
from sgjax_server.responses.response import Response, tell
from sgjax_server.sse import typed_event

if TYPE_CHECKING:
    from sgjax_server.chat import ChatGeneration  # which knows the service that has responses


class EventLog:
    """Events, kept: many may read them, each from where it likes, and wait for those to come."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self._is_over = False
        self._news = asyncio.Event()

    def add(self, *events: bytes, is_last: bool) -> None:
        self.events += events
        self._is_over = is_last
        self._news.set()
        self._news = asyncio.Event()

    async def read(self, first: int = 0) -> AsyncGenerator[bytes, None]:
        """The events from this number on, to the last one."""
        while True:
            if found := self.events[first:]:
                first += len(found)
                yield b"".join(found)
            elif self._is_over:
                return
            else:
                await self._news.wait()


class BackgroundRun:
    """A response under way whose client need not be there."""

    def __init__(
        self,
        response: Response,
        generation: "ChatGeneration",
        keep: Callable[["BackgroundRun"], None],
        *,
        is_streamed: bool,
    ):
        """`keep` is given this run when the response is over."""
        self.response = response
        self.log = EventLog() if is_streamed else None
        self._generation = generation
        self._keep = keep
        self._task = asyncio.create_task(self._run(), name=response.id)

    async def cancel(self) -> None:
        """Ends it, if it has not ended."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._generation.aclose()
        if not self.response.is_over:
            self._tell(self.response.cancel())
            self._keep(self)

    async def _run(self) -> None:
        """Nobody who is told the end finds the response not stored: between the two is no await."""
        events = tell(self.response, self._generation)
        async with aclosing(self._generation), aclosing(events):
            async for told in events:
                self._tell(told)
                if self.response.is_over:
                    self._keep(self)

    def _tell(self, told: list[Told]) -> None:
        if self.log is not None:
            self.log.add(*map(typed_event, told), is_last=self.response.is_over)

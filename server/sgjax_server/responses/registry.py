"""All responses of a server: those that run in the background, and those that are stored."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import orjson

from sgjax.errors import InvalidRequest
from sgjax_server.responses.background import BackgroundRun
from sgjax_server.responses.items import Item
from sgjax_server.responses.response import Response
from sgjax_server.responses.store import ResponseStore, StoredResponse

if TYPE_CHECKING:
    from sgjax_server.chat import ChatGeneration  # which knows the service that has responses


class Responses:
    """Belongs to one asyncio loop."""

    def __init__(self, store: ResponseStore | None = None):
        self.store = store or ResponseStore()
        self._live: dict[str, BackgroundRun] = {}

    def keep(self, response: Response) -> None:
        """Stores a response that is over."""
        self.store.put(StoredResponse.of(response))

    def start(
        self, response: Response, generation: "ChatGeneration", *, is_streamed: bool
    ) -> BackgroundRun:
        """Lets a response run on, whoever waits for it; stores it when it is over."""
        run = BackgroundRun(response, generation, self._keep_run, is_streamed=is_streamed)
        self._live[response.id] = run
        return run

    def get(self, response_id: str) -> dict[str, Any]:
        """A response as it is by now. Raises NoSuchObject."""
        if run := self._live.get(response_id):
            return run.response.to_dict()
        return orjson.loads(self.store.get(response_id).response)

    def input_items(self, response_id: str) -> list[Item]:
        """Raises NoSuchObject."""
        if run := self._live.get(response_id):
            return run.response.input_items
        return self.store.get(response_id).input()

    def events(self, response_id: str, first: int) -> AsyncGenerator[bytes, None]:
        """The events of a response from this number on, those to come too.

        Raises:
            NoSuchObject: there is no such response.
            InvalidRequest: it was not made as a stream in the background.
        """
        run = self._live.get(response_id)
        stored = None if run is not None else self.store.get(response_id).events
        if run is not None and run.log is not None:
            return run.log.read(first)
        if stored is not None:
            return _replay(stored[first:])
        raise InvalidRequest(
            f"The response {response_id[:80]!r} has no events to be read again: only those made "
            "with background and stream have. Leave stream out to get it as it is.",
            param="stream",
        )

    async def cancel(self, response_id: str) -> dict[str, Any]:
        """Ends a response that runs in the background; one that has ended stays as it is.

        Raises:
            NoSuchObject: there is no such response.
            InvalidRequest: it did not run in the background.
        """
        if run := self._live.get(response_id):
            await run.cancel()
            return run.response.to_dict()
        found = self.get(response_id)
        if not found["background"]:
            raise InvalidRequest(
                "Only responses made with background can be cancelled. Others end when their "
                "client goes away.",
                param="response_id",
            )
        return found

    async def delete(self, response_id: str) -> None:
        """Forgets a response; one that runs is ended. Raises NoSuchObject."""
        if run := self._live.get(response_id):
            await run.cancel()
        self.store.delete(response_id)

    async def stop(self) -> None:
        """Ends what runs."""
        await asyncio.gather(*[run.cancel() for run in [*self._live.values()]])

    def _keep_run(self, run: BackgroundRun) -> None:
        self._live.pop(run.response.id, None)
        events = None if run.log is None else run.log.events
        self.store.put(StoredResponse.of(run.response, events))


async def _replay(events: tuple[bytes, ...]) -> AsyncGenerator[bytes, None]:
    if events:
        yield b"".join(events)

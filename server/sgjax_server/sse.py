"""Answers that end when their client goes away: event streams, and the wait for a whole answer."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sgjax.errors import SgjaxError
from sgjax_server.errors import ClientGone, error_body

logger = logging.getLogger("sgjax.server")

Value = TypeVar("Value")

DONE = b"data: [DONE]\n\n"
PAST_MIDDLEWARE = "sgjax.send"
"""In a request's scope: the outermost `send`, which the app's edge leaves there."""


def event(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def typed_event(value: dict[str, Any]) -> bytes:
    """An event that is named by its type, as clients of responses and messages need it."""
    return b"event: %b\n%b" % (value["type"].encode(), event(value))


class Closable(Protocol):
    """What is under way, and ends by being closed: a Generation, a ChatGeneration."""

    def aclose(self) -> Awaitable[None]: ...


class EventStream(StreamingResponse):
    """Server-sent events made from a generation, which ends with the stream, however that ends.

    An error after the first byte is an event of its own, the last but for `after_error`.
    """

    def __init__(
        self,
        generation: Closable,
        events: AsyncGenerator[bytes, None],
        *,
        after_error: bytes = b"",
    ):
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )
        self._generation = generation
        self._events = events
        self._after_error = after_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._generation), aclosing(self._events):
            await _first_of(self._send_all(scope, send), _until_gone(receive))

    async def _send_all(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        # What middleware does, it has done by now: thousands of events a second go past it.
        send = scope.get(PAST_MIDDLEWARE, send)
        try:
            async for chunk in self._events:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except SgjaxError as error:
            await self._send_error(send, error)
        except OSError:
            return  # the connection broke
        except Exception as error:
            logger.exception("A stream failed.")
            await self._send_error(send, error)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_error(self, send: Send, error: Exception) -> None:
        body = event(error_body(error)) + self._after_error
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def unless_gone(request: Request, work: Coroutine[Any, Any, Value]) -> Value:
    """The result of `work`, which is cancelled the moment the client goes away.

    Raises:
        ClientGone: it did.
    """
    task = asyncio.ensure_future(work)
    await _first_of(task, _until_gone(request.receive))
    if task.cancelled():
        raise ClientGone
    return task.result()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*works: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> None:
    """Runs all until one ends; cancels the others and waits for them. Errors are left in them, but
    for coroutines' that ended first."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

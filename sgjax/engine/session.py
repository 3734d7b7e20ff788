"""The front's end of the line to an engine: requests out, deltas in, kept until taken."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from sgjax import errors
from sgjax.engine.deltas import Deltas
from sgjax.engine.messages import (
    Abort,
    Call,
    Command,
    Delta,
    EngineInfo,
    EngineStats,
    Event,
    Failed,
    Ready,
    Refused,
    Reply,
    Serving,
    Submit,
    Tokens,
)


class Session:
    """What all clients share: who waits for what. Lives in one asyncio loop.

    `send` carries a command to the engine, `receive` is given what comes back.
    """

    info: EngineInfo
    """Set once the engine serves."""

    def __init__(self, send: Callable[[Command], None]):
        self._send = send
        self._streams: dict[str, tuple[Deltas, int]] = {}
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count()
        self._death: str | None = None
        self.is_ready = False

    @property
    def is_alive(self) -> bool:
        return self._death is None

    def open(self, submits: Sequence[Submit]) -> Deltas:
        self._enter()
        rids = [submit.rid for submit in submits]
        for rid, count in Counter(rids).items():
            if rid in self._streams or count > 1:
                raise errors.InvalidRequest(
                    f"A request with the id {rid!r} is running; give each an id of its own.",
                    param="rid",
                )
        deltas = Deltas(rids, self._leave)
        for index, submit in enumerate(submits):
            self._streams[submit.rid] = deltas, index
            self._send(submit)
        return deltas

    async def generate(self, submit: Submit) -> AsyncGenerator[Delta, None]:
        """The deltas of one request, for whoever has no other to wait for."""
        with self.open([submit]) as deltas:
            is_over = False
            while not is_over:
                for delta in (await deltas.take()).values():
                    is_over = delta.finish is not None
                    yield delta

    def _leave(self, rid: str) -> None:
        if self._streams.pop(rid, None) is not None and self.is_alive:
            self._send(Abort(rid))

    async def abort(self, rid: str | None) -> None:
        self._enter()
        self._send(Abort(rid))

    async def flush_cache(self) -> bool:
        return await self._call("flush_cache")

    async def stats(self) -> EngineStats:
        return msgspec.convert(await self._call("stats"), EngineStats)

    async def _call(self, name: str) -> Any:
        self._enter()
        call = Call(next(self._ids), name)
        future = self._calls[call.id] = asyncio.get_running_loop().create_future()
        try:
            self._send(call)
            return await future
        finally:
            del self._calls[call.id]

    def receive(self, events: list[Event]) -> None:
        """Takes what the engine sent, in the loop's own thread."""
        for event in events:
            match event:
                case Tokens():
                    for rid, token in zip(event.rids, event.token_ids, strict=True):
                        if stream := self._streams.get(rid):
                            stream[0].put_token(stream[1], token)
                case Delta():
                    self._put(event)
                case Refused():
                    if stream := self._streams.pop(event.rid, None):
                        stream[0].fail(errors.revive(event.kind, event.message, event.param))
                case Reply():
                    self._answer(event)
                case Serving():
                    self.info = event.info
                case Ready():
                    self.is_ready = True
                case Failed():
                    self.die(event.message)

    def _put(self, delta: Delta) -> None:
        if stream := self._streams.get(delta.rid):
            stream[0].put(stream[1], delta)
            if delta.finish is not None:
                del self._streams[delta.rid]

    def die(self, reason: str) -> None:
        """The engine is gone: everybody who waits, or asks from now on, is told."""
        if self._death is not None:
            return
        self._death = reason
        for deltas, _ in self._streams.values():
            deltas.fail(errors.EngineDead(reason))
        for future in self._calls.values():
            if not future.done():
                future.set_exception(errors.EngineDead(reason))

    def _answer(self, reply: Reply) -> None:
        future = self._calls.get(reply.id)
        if future is None or future.done():
            return
        if reply.error is not None:
            future.set_exception(errors.InvalidRequest(reply.error))
        else:
            future.set_result(reply.value)

    def _enter(self) -> None:
        """Comes first in every call."""
        if self._death is not None:
            raise errors.EngineDead(self._death)

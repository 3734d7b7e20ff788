"""The front's end of the line to an engine: requests out, deltas in, merged until taken."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from sgjax import errors
from sgjax.engine.messages import (
    Abort,
    Call,
    Command,
    Delta,
    EngineInfo,
    EngineStats,
    Event,
    Failed,
    Logprobs,
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
        self._streams: dict[str, _Stream] = {}
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count()
        self._death: str | None = None
        self.is_ready = False

    @property
    def is_alive(self) -> bool:
        return self._death is None

    async def generate(self, submit: Submit) -> AsyncIterator[Delta]:
        self._enter()
        if submit.rid in self._streams:
            raise errors.InvalidRequest(
                f"A request with the id {submit.rid!r} is running; give each an id of its own.",
                param="rid",
            )
        stream = self._streams[submit.rid] = _Stream()
        is_over = False
        try:
            self._send(submit)
            while not is_over:
                try:
                    delta = await stream.take()
                except errors.SgjaxError:
                    is_over = True
                    raise
                is_over = delta.finish is not None
                yield delta
        finally:
            del self._streams[submit.rid]
            if not is_over and self.is_alive:
                self._send(Abort(submit.rid))

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
                            stream.put(Delta(rid, [token]))
                case Delta():
                    if stream := self._streams.get(event.rid):
                        stream.put(event)
                case Refused():
                    if stream := self._streams.get(event.rid):
                        stream.fail(errors.revive(event.kind, event.message, event.param))
                case Reply():
                    self._answer(event)
                case Serving():
                    self.info = event.info
                case Ready():
                    self.is_ready = True
                case Failed():
                    self.die(event.message)

    def die(self, reason: str) -> None:
        """The engine is gone: everybody who waits, or asks from now on, is told."""
        if self._death is not None:
            return
        self._death = reason
        for stream in self._streams.values():
            stream.fail(errors.EngineDead(reason))
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


class _Stream:
    """One request's deltas: those that nobody took yet are one."""

    def __init__(self) -> None:
        self._delta: Delta | None = None
        self._error: errors.SgjaxError | None = None
        self._news = asyncio.Event()

    def put(self, delta: Delta) -> None:
        self._delta = delta if self._delta is None else merge(self._delta, delta)
        self._news.set()

    def fail(self, error: errors.SgjaxError) -> None:
        self._error = error
        self._news.set()

    async def take(self) -> Delta:
        await self._news.wait()
        if self._delta is not None:
            delta, self._delta = self._delta, None
            if self._error is None:
                self._news.clear()
            return delta
        assert self._error is not None
        raise self._error


def merge(a: Delta, b: Delta) -> Delta:
    """One delta for two of the same request, `b` after `a`."""
    return Delta(
        rid=a.rid,
        token_ids=a.token_ids + b.token_ids,
        finish=b.finish,
        logprobs=_join(a.logprobs, b.logprobs),
        prompt_logprobs=_join(a.prompt_logprobs, b.prompt_logprobs),
        num_cached=max(a.num_cached, b.num_cached),
        num_retractions=max(a.num_retractions, b.num_retractions),
    )


def _join(a: Logprobs | None, b: Logprobs | None) -> Logprobs | None:
    if a is None or b is None:
        return b if a is None else a
    top = a.top + b.top if a.top is not None and b.top is not None else None
    return Logprobs(a.tokens + b.tokens, a.logprobs + b.logprobs, top)

"""How a front talks to an engine, wherever it runs."""

from collections.abc import Sequence
from typing import Protocol

from sgjax.engine.deltas import Deltas
from sgjax.engine.messages import EngineInfo, EngineStats, Submit


class EngineClient(Protocol):
    """The engine, as seen from in front of it. Token ids in, token ids out.

    All methods belong to one asyncio loop. Errors: `EngineDead` from every call once the engine has
    ended.
    """

    info: EngineInfo

    def open(self, submits: Sequence[Submit]) -> Deltas:
        """Starts requests; what they gain is to be taken from the object returned, until the last
        Delta of each, which has a finish reason. Closing it early aborts them at once.

        If the engine refuses one, taking raises its `RequestError`; if it ends, `EngineDead`.
        """
        ...

    async def abort(self, rid: str | None) -> None:
        """Ends a request (None: all): its last Delta finishes with "abort"."""
        ...

    async def flush_cache(self) -> bool:
        """Empties the prefix cache; False (and nothing done) while requests run or wait."""
        ...

    async def stats(self) -> EngineStats: ...

    @property
    def is_alive(self) -> bool: ...

    @property
    def is_ready(self) -> bool:
        """Whether every program is compiled."""
        ...

    async def close(self) -> None:
        """Stops the engine; what is in flight is aborted. May be called twice."""
        ...

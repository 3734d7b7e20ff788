"""How a front talks to an engine, wherever it runs."""

from collections.abc import AsyncIterator
from typing import Protocol

from sgjax.engine.messages import Delta, EngineInfo, EngineStats, Submit


class EngineClient(Protocol):
    """The engine, as seen from in front of it. Token ids in, token ids out.

    All methods belong to one asyncio loop. Errors: `EngineDead` from every call once the engine has
    ended; `RequestError` from `generate` for a request that the engine refuses.
    """

    info: EngineInfo

    def generate(self, submit: Submit) -> AsyncIterator[Delta]:
        """Runs a request and yields what it gains; the last Delta has a finish reason.

        Deltas that were not taken yet merge: a slow reader gets few large ones. Closing the
        iterator early aborts the request at once.
        """
        ...

    async def abort(self, rid: str | None) -> None:
        """Ends a request (None: all): its iterator yields a Delta that finishes with "abort"."""
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

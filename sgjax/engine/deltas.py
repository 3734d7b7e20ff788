"""What requests gain, from when it comes until somebody takes it."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from sgjax import errors
from sgjax.engine.messages import Delta, Logprobs


class Deltas:
    """The news of some requests, in one place. Those of a request that nobody took yet are one
    delta, so a slow reader holds nobody up, and is woken once for all.

    Lives in one asyncio loop. Whoever has it must take all or close it.
    """

    def __init__(self, rids: Sequence[str], leave: Callable[[str], None]):
        """`leave` is told the names of requests of which nothing more is wanted."""
        self._rids = rids
        self._leave = leave
        self._news: dict[int, Delta] = {}
        self._error: errors.SgjaxError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, index: int, delta: Delta) -> None:
        """News of the request of this index."""
        old = self._news.get(index)
        self._news[index] = delta if old is None else merge(old, delta)
        self._wake()

    def put_token(self, index: int, token: int) -> None:
        """A token, and nothing else."""
        old = self._news.get(index)
        if old is not None:
            old.token_ids.append(token)
        else:
            self.put(index, Delta(self._rids[index], [token]))

    def fail(self, error: errors.SgjaxError) -> None:
        """Nothing comes any more: when all news are taken, `take` raises this."""
        self._error = error
        self._wake()

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    async def take(self) -> dict[int, Delta]:
        """All news there are, by index; waits until there are some."""
        while not self._news:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        news, self._news = self._news, {}
        return news

    def end(self, index: int) -> None:
        """Nothing more is wanted of this request: if it runs, it is aborted."""
        self._leave(self._rids[index])

    def close(self) -> None:
        """Nothing more is wanted of any. May be called twice."""
        for rid in self._rids:
            self._leave(rid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def merge(a: Delta, b: Delta) -> Delta:
    """One delta for two of the same request, `b` after `a`, whose lists it goes on with."""
    a.token_ids.extend(b.token_ids)
    return Delta(
        rid=a.rid,
        token_ids=a.token_ids,
        finish=b.finish,
        logprobs=_join(a.logprobs, b.logprobs),
        prompt_logprobs=_join(a.prompt_logprobs, b.prompt_logprobs),
        num_cached=max(a.num_cached, b.num_cached),
        num_retractions=max(a.num_retractions, b.num_retractions),
        num_forced=max(a.num_forced, b.num_forced),
        vector=a.vector or b.vector,
    )


def _join(a: Logprobs | None, b: Logprobs | None) -> Logprobs | None:
    if a is None or b is None:
        return b if a is None else a
    a.tokens.extend(b.tokens)
    a.logprobs.extend(b.logprobs)
    if a.top is not None and b.top is not None:
        a.top.extend(b.top)
    return a

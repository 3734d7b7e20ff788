"""Conversations with a server, as a crowd has them."""

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sgjax.bench.serving.client import ServerClient
from sgjax.bench.serving.datasets import Conversation, Turn
from sgjax.bench.serving.forms import Form
from sgjax.bench.serving.newcomer import until_steady
from sgjax.bench.serving.outcome import Outcome

PROBE_TEXT, PROBE_IDS, PROBE_TOKENS = "Hello! Who are you?", [1, 2, 3, 4], 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """When conversations begin. With neither of them: all at once."""

    request_rate: float | None = None
    """Conversations a second, by chance as in a Poisson process."""
    concurrency: int | None = None
    """So many under way at most; the next one begins when one ends."""

    def starts_s(self, count: int, seed: int) -> list[float]:
        """When each may begin, in seconds from the first."""
        if self.request_rate is None:
            return [0.0] * count
        chance, now, starts = random.Random(seed), 0.0, []
        for _ in range(count):
            starts.append(now)
            now += chance.expovariate(self.request_rate)
        return starts


@dataclasses.dataclass
class Run:
    """All that came of a load."""

    outcomes: list[Outcome] = dataclasses.field(default_factory=list)
    live: list[Outcome] = dataclasses.field(default_factory=list)
    """What is under way."""
    newcomer: Outcome | None = None
    """What came while others decoded."""
    seconds: float = 0.0
    client_cpu_s: float = 0.0
    """Processor time of this thread: near `seconds`, it was the client that was measured."""
    worst_lag_s: float = 0.0
    """How much later than it was due a conversation began."""

    @property
    def good(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error is None]

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error is not None]


class Crowd:
    """Holds conversations with a server."""

    def __init__(
        self,
        client: ServerClient,
        form: Form,
        settings: Mapping[str, Any],
        schema: Any = None,
    ):
        self._client = client
        self._form = form
        self._settings = settings
        self._schema = schema

    async def probe(self, *, with_ids: bool) -> Outcome:
        """One short request, of text or of token ids."""
        content = PROBE_IDS if with_ids else PROBE_TEXT
        body = self._form.body(content, PROBE_TOKENS, self._settings, self._schema)
        return await self._client.stream(self._form, body)

    async def hold(
        self,
        conversations: Sequence[Conversation],
        load: Load,
        *,
        seed: int = 0,
        newcomer: Turn | None = None,
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    ) -> Run:
        """Holds all conversations; `on_outcome` hears of every answer. The `newcomer` is asked once
        all that is under way decodes, and counts for itself."""
        run = Run()
        places = None if load.concurrency is None else asyncio.Semaphore(load.concurrency)
        cpu, begin = time.thread_time(), time.perf_counter()

        async def one(conversation: Conversation, start_s: float) -> None:
            await asyncio.sleep(begin + start_s - time.perf_counter())
            if places is None:
                run.worst_lag_s = max(run.worst_lag_s, time.perf_counter() - begin - start_s)
                await self._converse(conversation, run, on_outcome)
                return
            async with places:
                await self._converse(conversation, run, on_outcome)

        starts = load.starts_s(len(conversations), seed)
        async with asyncio.TaskGroup() as around:
            coming = around.create_task(self._come(newcomer, run))
            async with asyncio.TaskGroup() as tasks:
                for conversation, start_s in zip(conversations, starts, strict=True):
                    tasks.create_task(one(conversation, start_s))
            run.seconds = time.perf_counter() - begin
            run.client_cpu_s = time.thread_time() - cpu
            if run.newcomer is None:
                coming.cancel()
        return run

    async def _come(self, turn: Turn | None, run: Run) -> None:
        if turn is not None:
            await until_steady(lambda: run.live)
            body = self._form.body(turn.content, turn.max_tokens, self._settings)

            def begin(outcome: Outcome) -> None:
                run.newcomer = outcome

            await self._client.stream(self._form, body, begin)

    async def _converse(
        self, conversation: Conversation, run: Run, on_outcome: Callable[[Outcome], None]
    ) -> None:
        """Turn by turn, until one fails."""
        content = conversation[0].content
        for turn, following in zip(conversation, [*conversation[1:], None], strict=True):
            body = self._form.body(content, turn.max_tokens, self._settings, self._schema)
            outcome = await self._client.stream(self._form, body, run.live.append)
            run.live.remove(outcome)
            run.outcomes.append(outcome)
            on_outcome(outcome)
            if outcome.error is not None or following is None:
                return
            content = self._form.after(content, outcome.answer, following)

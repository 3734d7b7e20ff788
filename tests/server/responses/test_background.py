"""Responses that run on by themselves, and logs of their events."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgjax_server.batches.errors import NoSuchObject
from sgjax_server.chat_events import Content, End, Event
from sgjax_server.responses.background import EventLog
from sgjax_server.responses.output import Output
from sgjax_server.responses.registry import Responses
from sgjax_server.responses.response import Response

from sgjax.engine.request import FinishReason
from sgjax.errors import EngineDead
from tests.front.fakes import byte_tokenizer

TOKENIZER = byte_tokenizer()
END = End("stop", FinishReason("stop"))


class FakeUsage:
    def to_dict(self) -> dict[str, Any]:
        return {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class FakeGeneration:
    """Says these events, one at a time, or waits where there is None, or fails."""

    def __init__(self, *news: Event | Exception | None):
        self.usage = FakeUsage()
        self.is_closed = False
        self._news = list(news)

    def __aiter__(self) -> "FakeGeneration":
        return self

    async def __anext__(self) -> list[tuple[int, Event]]:
        await asyncio.sleep(0)
        if not self._news:
            raise StopAsyncIteration
        news = self._news.pop(0)
        if news is None:
            await asyncio.Event().wait()
        if isinstance(news, Exception):
            raise news
        assert news is not None
        return [(0, news)]

    async def aclose(self) -> None:
        self.is_closed = True


def response() -> Response:
    fields = {"background": True, "previous_response_id": None}
    return Response(fields, [], Output(TOKENIZER))


def start(responses: Responses, generation: Any, *, is_streamed: bool = True) -> str:
    made = response()
    responses.start(made, generation, is_streamed=is_streamed)
    return made.id


async def read(responses: Responses, response_id: str, first: int = 0) -> bytes:
    return b"".join([event async for event in responses.events(response_id, first)])


def test_a_run_is_stored_when_it_is_over() -> None:
    async def story() -> None:
        responses, generation = Responses(), FakeGeneration(Content("Hi"), END)
        name = start(responses, generation)
        assert responses.get(name)["status"] == "queued"
        told = await read(responses, name)
        assert responses.get(name)["status"] == "completed"
        assert len(responses.store) == 1
        await asyncio.sleep(0.01)
        assert generation.is_closed
        assert await read(responses, name) == told
        assert told.count(b"event: ") == 10
        assert await read(responses, name, 100) == b""

    asyncio.run(story())


def test_a_run_that_fails_says_so_and_is_stored() -> None:
    async def story() -> None:
        responses = Responses()
        name = start(responses, FakeGeneration(Content("Hi"), EngineDead("gone")))
        assert b"response.failed" in await read(responses, name)
        found = responses.get(name)
        assert found["error"] == {"code": "server_error", "message": "gone"}
        assert found["output"][0]["status"] == "incomplete"

    asyncio.run(story())


@pytest.mark.parametrize("num_waits", [0, 1, 5])
def test_a_run_is_cancelled_wherever_it_is(num_waits: int) -> None:
    async def story() -> None:
        responses, generation = Responses(), FakeGeneration(Content("Hi"), None)
        name = start(responses, generation)
        for _ in range(num_waits):
            await asyncio.sleep(0)
        found = await asyncio.gather(*[responses.cancel(name) for _ in range(3)])
        assert {each["status"] for each in found} == {"cancelled"}
        assert generation.is_closed
        assert (await read(responses, name)).count(b"event: response.failed") == 1

    asyncio.run(story())


def test_deleting_a_run_ends_it() -> None:
    async def story() -> None:
        responses, generation = Responses(), FakeGeneration(None)
        name = start(responses, generation)
        await responses.delete(name)
        assert generation.is_closed
        with pytest.raises(NoSuchObject):
            responses.get(name)

    asyncio.run(story())


def test_stopping_ends_all_that_runs() -> None:
    async def story() -> None:
        responses, generations = Responses(), [FakeGeneration(None) for _ in range(3)]
        names = [start(responses, each, is_streamed=False) for each in generations]
        await responses.stop()
        assert all(each.is_closed for each in generations)
        assert [responses.get(name)["status"] for name in names] == ["cancelled"] * 3
        assert [task for task in asyncio.all_tasks() if task.get_name() in names] == []

    asyncio.run(story())


EVENTS = st.lists(st.lists(st.binary(min_size=1, max_size=3), max_size=3), max_size=8)


@given(EVENTS, st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), max_size=4))
def test_every_reader_gets_all_from_where_it_began(
    batches: Sequence[Sequence[bytes]], readers: Sequence[tuple[int, int]]
) -> None:
    """Readers: after how many batches one comes, and from which event on it reads."""
    everything = [event for batch in batches for event in batch]

    async def drain(log: EventLog, first: int) -> bytes:
        return b"".join([part async for part in log.read(first)])

    async def story() -> None:
        log, reading = EventLog(), []
        for at, batch in enumerate([*batches, []]):
            reading += [
                (first, asyncio.create_task(drain(log, first)))
                for comes_at, first in readers
                if min(comes_at, len(batches)) == at
            ]
            await asyncio.sleep(0)
            log.add(*batch, is_last=at == len(batches))
        for first, task in reading:
            assert await asyncio.wait_for(task, 5) == b"".join(everything[first:])

    asyncio.run(story())

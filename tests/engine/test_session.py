import asyncio
import contextlib
from array import array

import pytest

from sgjax import errors
from sgjax.engine.messages import (
    Abort,
    Call,
    Delta,
    EngineStats,
    Failed,
    Ready,
    Refused,
    Reply,
    Submit,
    Tokens,
)
from sgjax.engine.request import FinishReason
from sgjax.engine.session import Session
from sgjax.sampling_params import SamplingParams

LENGTH = FinishReason("length", length=1)


def submit(rid="a"):
    return Submit(rid=rid, prompt_ids=array("i", [1, 2]), params=SamplingParams())


def run(story):
    """Runs `story(session, sent)` in a loop of its own; `sent` collects what goes to the engine."""

    async def main():
        sent = []
        await asyncio.wait_for(story(Session(sent.append), sent), 10)

    asyncio.run(main())


async def collect(session, rid="a"):
    return [delta async for delta in session.generate(submit(rid))]


async def reach(sent, count):
    while len(sent) < count:
        await asyncio.sleep(0)


def test_deltas_that_nobody_took_arrive_as_one():
    async def story(session, sent):
        reader = asyncio.create_task(collect(session))
        await reach(sent, 1)
        session.receive([Delta("a", [1]), Delta("b", [9])])
        session.receive([Delta("a", [2]), Delta("a", [3], LENGTH, num_cached=4)])
        assert await reader == [Delta("a", [1, 2, 3], LENGTH, num_cached=4)]
        assert sent == [submit()]

    run(story)


def test_tokens_of_a_step_reach_their_requests():
    async def story(session, sent):
        with session.open([submit("a"), submit("b")]) as both, session.open([submit("c")]) as one:
            session.receive([Tokens(["c", "b", "nobody"], [1, 2, 3]), Delta("a", [4], LENGTH)])
            assert await both.take() == {1: Delta("b", [2]), 0: Delta("a", [4], LENGTH)}
            assert await one.take() == {0: Delta("c", [1])}
        # "a" has ended by itself.
        assert sent[3:] == [Abort("c"), Abort("b")]

    run(story)


def test_one_call_cannot_open_two_requests_of_one_id():
    async def story(session, sent):
        with pytest.raises(errors.InvalidRequest, match="'a' is running"):
            session.open([submit("a"), submit("a")])
        assert sent == []

    run(story)


def test_a_reader_that_goes_away_aborts_its_request():
    async def story(session, sent):
        async with contextlib.aclosing(session.generate(submit())) as stream:
            session_reads = asyncio.create_task(anext(stream))
            await reach(sent, 1)
            session.receive([Delta("a", [1])])
            await session_reads
        assert sent[1:] == [Abort("a")]
        session.receive([Delta("a", [2], LENGTH)])  # late news of it are nobody's business

    run(story)


def test_a_cancelled_reader_aborts_its_request():
    async def story(session, sent):
        reader = asyncio.create_task(collect(session))
        await reach(sent, 1)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert sent[1:] == [Abort("a")]

    run(story)


def test_a_refused_request_raises_its_own_error_and_its_id_is_free_again():
    async def story(session, sent):
        reader = asyncio.create_task(collect(session))
        await reach(sent, 1)
        session.receive([Refused("a", "QueueFull", "1,024 requests wait already.")])
        with pytest.raises(errors.QueueFull, match="wait already") as caught:
            await reader
        assert caught.value.status == 429
        assert len(sent) == 1
        reader = asyncio.create_task(collect(session))
        await reach(sent, 2)
        session.receive([Delta("a", [], LENGTH)])
        assert len(await reader) == 1

    run(story)


def test_two_running_requests_cannot_have_one_id():
    async def story(session, sent):
        reader = asyncio.create_task(collect(session))
        await reach(sent, 1)
        with pytest.raises(errors.InvalidRequest, match="'a' is running"):
            await collect(session)
        session.receive([Delta("a", [], LENGTH)])
        await reader

    run(story)


def test_calls_are_answered_by_id_in_any_order():
    async def story(session, sent):
        stats = asyncio.create_task(session.stats())
        flush = asyncio.create_task(session.flush_cache())
        await reach(sent, 2)
        assert [call.name for call in sent] == ["stats", "flush_cache"]
        assert all(isinstance(call, Call) for call in sent)
        session.receive([Reply(sent[1].id, True), Reply(sent[0].id, {"num_running": 3})])
        assert await flush is True
        assert await stats == EngineStats(num_running=3)

    run(story)


def test_the_engines_death_reaches_everybody_who_waits_and_who_asks_later():
    async def story(session, sent):
        reader = asyncio.create_task(collect(session))
        call = asyncio.create_task(session.stats())
        await reach(sent, 2)
        session.receive([Ready(1.0), Delta("a", [5])])
        assert session.is_ready and session.is_alive
        session.receive([Failed("It fell over.")])
        for task in (reader, call):
            with pytest.raises(errors.EngineDead, match="It fell over"):
                await task
        with pytest.raises(errors.EngineDead, match="It fell over"):
            await collect(session, "b")
        assert not session.is_alive

    run(story)

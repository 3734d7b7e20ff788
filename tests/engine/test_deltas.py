"""What several requests gain, waited for in one place."""

import asyncio

import pytest

from sgjax.engine.deltas import Deltas, merge
from sgjax.engine.messages import Delta, Logprobs
from sgjax.errors import EngineDead


def run(story):
    return asyncio.run(asyncio.wait_for(story(), 10))


def test_a_reader_gets_all_that_came_since_it_took_last():
    async def story():
        deltas = Deltas(["a", "b", "c"], lambda rid: None)
        reader = asyncio.create_task(deltas.take())
        await asyncio.sleep(0)
        deltas.put_token(1, 5)
        deltas.put_token(0, 6)
        deltas.put_token(1, 7)
        assert await reader == {1: Delta("b", [5, 7]), 0: Delta("a", [6])}
        deltas.put(0, Delta("a", [8], num_cached=3))
        deltas.put_token(0, 9)
        assert await deltas.take() == {0: Delta("a", [8, 9], num_cached=3)}
        assert not deltas.has_news

    run(story)


def test_an_error_comes_after_the_news_before_it():
    async def story():
        deltas = Deltas(["a"], lambda rid: None)
        deltas.put_token(0, 5)
        deltas.fail(EngineDead("It fell over."))
        assert await deltas.take() == {0: Delta("a", [5])}
        for _ in range(2):
            with pytest.raises(EngineDead, match="fell over"):
                await deltas.take()

    run(story)


def test_a_reader_that_was_cancelled_loses_nothing():
    async def story():
        deltas = Deltas(["a"], lambda rid: None)
        reader = asyncio.create_task(deltas.take())
        await asyncio.sleep(0)
        reader.cancel()
        deltas.put_token(0, 5)
        assert await deltas.take() == {0: Delta("a", [5])}

    run(story)


def test_who_closes_leaves_all_and_who_ends_one_leaves_that():
    left = []
    with Deltas(["a", "b"], left.append) as deltas:
        deltas.end(1)
        assert left == ["b"]
    assert left == ["b", "a", "b"]


def test_merging_joins_logprobs_of_prompt_and_output():
    a = Delta("a", [1], logprobs=Logprobs([1], [-1.0], [[(-1.0, 1)]]))
    b = Delta("a", [2], logprobs=Logprobs([2], [-2.0], [[(-2.0, 2)]]))
    b = merge(b, Delta("a", [], prompt_logprobs=Logprobs([7], [None])))
    merged = merge(a, b)
    assert merged.logprobs == Logprobs([1, 2], [-1.0, -2.0], [[(-1.0, 1)], [(-2.0, 2)]])
    assert merged.prompt_logprobs == Logprobs([7], [None])

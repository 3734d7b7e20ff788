"""Who asks when: with a server that is not there."""

import asyncio
import itertools

import pytest

from sgjax.bench.serving.crowd import Crowd, Load
from sgjax.bench.serving.datasets import Turn
from sgjax.bench.serving.forms import FORMS
from sgjax.bench.serving.outcome import Outcome


class FakeClient:
    """Answers "A<n>" to the n-th request; fails the `failing` ones. Counts who is under way."""

    def __init__(self, failing=()):
        self.failing = failing
        self.bodies = []
        self.num_live = self.most_live = 0

    async def stream(self, form, body, on_begin=lambda outcome: None):
        number = len(self.bodies)
        self.bodies.append(body)
        outcome = Outcome(begin=0.0, end=1.0, times=[0.5])
        on_begin(outcome)
        self.num_live += 1
        self.most_live = max(self.most_live, self.num_live)
        await asyncio.sleep(0.001)
        self.num_live -= 1
        outcome.answer = [f"A{number}"]
        if form is FORMS["generate"]:
            outcome.answer = {"output_ids": [1000 + number], "text": f"A{number}"}
        outcome.error = "worn out" if number in self.failing else None
        return outcome


def hold(conversations, api="chat", load=None, client=None, **settings):
    client = client or FakeClient()
    crowd = Crowd(client, FORMS[api], settings)
    return client, asyncio.run(crowd.hold(conversations, load or Load()))


def test_with_no_limit_all_ask_at_once():
    client, run = hold([[Turn("Hi", 5)]] * 20)
    assert client.most_live == 20
    assert len(run.good) == 20 and not run.failed


def test_a_closed_loop_never_has_more_under_way():
    client, run = hold([[Turn("Hi", 5)]] * 20, load=Load(concurrency=3))
    assert client.most_live == 3
    assert len(run.outcomes) == 20


def test_arrivals_are_poisson_by_rate_and_the_same_for_a_seed():
    starts = Load(request_rate=50.0).starts_s(4000, seed=1)
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert starts[0] == 0.0 and min(gaps) >= 0.0
    assert sum(gaps) / len(gaps) == pytest.approx(0.02, rel=0.05)
    within = sum(gap < 0.02 for gap in gaps) / len(gaps)
    assert within == pytest.approx(1 - 2.718281828**-1, abs=0.02)
    assert Load(request_rate=50.0).starts_s(4000, seed=1) == starts
    assert Load().starts_s(3, seed=1) == [0.0] * 3


def test_a_chat_goes_on_from_what_was_answered():
    client, _ = hold([[Turn("one", 5), Turn("two", 6)]], model="m", temperature=0)
    first, second = client.bodies
    assert first["messages"] == [{"role": "user", "content": "one"}]
    assert second["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "A0"},
        {"role": "user", "content": "two"},
    ]
    assert (second["max_tokens"], second["model"], second["stream"]) == (6, "m", True)
    assert second["stream_options"] == {"include_usage": True}


def test_ids_and_texts_go_on_too():
    client, _ = hold([[Turn([1, 2], 5), Turn([3], 6)]], api="generate", ignore_eos=True)
    assert client.bodies[1]["input_ids"] == [1, 2, 1000, 3]
    params = {"max_new_tokens": 6, "ignore_eos": True}
    assert client.bodies[1]["sampling_params"] == params
    client, _ = hold([[Turn("a", 5), Turn("b", 6)]], api="completions")
    assert client.bodies[1]["prompt"] == "aA0\nb"


def test_a_conversation_ends_where_a_turn_fails_and_others_go_on():
    turns = [Turn("one", 5), Turn("two", 6), Turn("three", 6)]
    client, run = hold([turns, turns], load=Load(concurrency=1), client=FakeClient(failing={1}))
    assert [len(body["messages"]) for body in client.bodies] == [1, 3, 1, 3, 5]
    assert len(run.good) == 4
    assert [outcome.error for outcome in run.failed] == ["worn out"]


def test_a_schema_is_said_in_each_form():
    schema = {"type": "object"}
    for api in ("chat", "completions"):
        body = FORMS[api].body("Hi", 5, {}, schema)
        assert body["response_format"]["json_schema"]["schema"] == schema
    body = FORMS["generate"].body("Hi", 5, {}, schema)
    assert body["sampling_params"]["json_schema"] == '{"type":"object"}'

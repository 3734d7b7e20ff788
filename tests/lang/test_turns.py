"""Backends that are asked for an assistant's message as a whole: nobody waits for ever for a gen
that was held back."""

import asyncio
import traceback

import pytest

import sgjax as sgl
from sgjax.errors import ProgramFailed
from sgjax.lang.backends.contract import Answer
from tests.lang.fake_backend import FakeBackend

pytestmark = pytest.mark.timeout(10)


class TurnFake(FakeBackend):
    """Answers 1, 2, ... to the calls of a message."""

    async def turn(self, transcript, parts):
        calls = [part for part in parts if not isinstance(part, str)]
        self.turns.append([part if isinstance(part, str) else "call" for part in parts])
        return [Answer(str(number), {}) for number, _ in enumerate(calls, 1)]


@pytest.fixture
def backend():
    with TurnFake(template="default") as made:
        made.turns = []
        yield made


def in_block(s):
    with s.assistant():
        s += "A" + sgl.gen("x") + "B" + sgl.gen("y")


def by_parts(s):
    s += sgl.assistant_begin()
    s += "A" + sgl.gen("x")
    s += "B" + sgl.gen("y")
    # All that was there is done before the end comes.
    s._executor.backend.loop.run(asyncio.sleep(0.01))
    s += sgl.assistant_end()


def as_one(s):
    s += sgl.assistant("A" + sgl.gen("x") + "B" + sgl.gen("y"))


@pytest.mark.parametrize("say", [in_block, by_parts, as_one])
def test_a_message_is_asked_for_once_and_may_be_read_behind_it(backend, say):
    @sgl.function
    def program(s):
        say(s)
        return s["x"], s["y"]

    state = program.run(backend=backend)
    assert state.ret_value == ("1", "2")
    assert backend.turns == [["A", "call", "B", "call"]]
    assert state.text() == "ASSISTANT:A1B2\n"


def test_a_message_that_is_open_is_asked_for_when_it_is_read(backend):
    @sgl.function
    def program(s):
        s += sgl.assistant_begin() + "A" + sgl.gen("x")
        first = s["x"]
        s += "B" + sgl.gen("x")
        return first, s["x"]

    assert program.run(backend=backend).ret_value == ("1", "1")
    assert backend.turns == [["A", "call"], ["B", "call"]]


def test_messages_that_forks_leave_open_are_asked_for_when_they_are_joined(backend):
    @sgl.function
    def program(s):
        forks = s.fork(2)
        forks += sgl.assistant_begin() + sgl.gen("x")
        forks.join()
        return s["x"]

    assert program.run(backend=backend).ret_value == ["1", "1"]


def test_a_fork_s_parent_is_asked_too(backend):
    @sgl.function
    def program(s):
        s += sgl.assistant_begin() + sgl.gen("x")
        fork = s.fork()[0]
        return fork["x"]

    assert program.run(backend=backend).ret_value == "1"


def test_a_turn_that_fails_tells_the_line_of_its_last_call(backend, monkeypatch):
    async def fail(transcript, parts):
        raise OSError("no answer")

    monkeypatch.setattr(backend, "turn", fail)

    @sgl.function
    def program(s):
        s += sgl.assistant_begin()
        s += sgl.gen("x")
        s += "A text behind it."

    with pytest.raises(ProgramFailed, match=r"assistant\(\) failed, at .*test_turns.py") as caught:
        program.run(backend=backend)["x"]
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == 's += sgl.gen("x")'

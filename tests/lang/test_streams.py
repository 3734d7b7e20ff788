"""Programs that are streamed, and readers in coroutines."""

import asyncio
import threading
import traceback

import pytest

import sgjax as sgl
from sgjax.errors import InvalidProgram, ProgramFailed, UnknownVariable
from sgjax.lang.backends.contract import Answer

pytestmark = pytest.mark.timeout(10)


@sgl.function
def talk(s, name="you"):
    s += f"Hi {name}. "
    s += sgl.gen("first") + "; "
    s += sgl.gen("second")
    return "end"


def answers(text):
    return "abc" if "abc" not in text else "de"


TEXT = "Hi you. abc; de"


def test_text_comes_piece_by_piece(fake):
    backend = fake(answers)
    state = talk.run(stream=True, backend=backend)
    assert "".join(state.text_iter()) == TEXT
    assert [call.kind for call in backend.calls] == ["stream", "stream"]
    assert state.text() == TEXT and state.ret_value == "end"
    assert list(state.text_iter()) == [TEXT]  # who comes late hears all of it


def test_a_variable_s_pieces_come_by_themselves(fake):
    state = talk.run(stream=True, backend=fake(answers))
    assert "".join(state.text_iter("second")) == "de"
    assert list(state.text_iter("first")) == ["abc"]  # who comes late hears all at once
    assert state.get_meta_info("first")["num"] == 3


def test_a_scope_s_pieces_come_as_it_grows(fake):
    may_end, heard = threading.Event(), []

    @sgl.function
    def scoped(s):
        with s.var_scope("all"):
            s += "a" + sgl.gen()
            assert may_end.wait(5)
        s += "b"

    state = scoped.run(stream=True, backend=fake())
    for piece in state.text_iter("all"):
        heard.append(piece)
        if "!" in piece:
            may_end.set()
    assert "".join(heard) == "a!" and state["all"] == "a!"


def test_a_stream_says_what_a_run_says(fake):
    plain = talk.run(backend=fake(answers))
    streamed = talk.run(backend=fake(answers), stream=True)
    for read in (lambda s: s.text(), lambda s: s["first"], lambda s: s.messages()):
        assert read(plain) == read(streamed)
    assert "".join(plain.text_iter()) == "".join(streamed.text_iter()) == TEXT


def test_a_program_reads_its_own_text_up_to_where_it_is(fake):
    @sgl.function
    def reads(s):
        s += "a" + sgl.gen("x")
        before = "".join(s.text_iter())
        fork = s.fork()[0]
        fork += "b" + sgl.gen("y")
        return before, "".join(fork.text_iter()), "".join(fork.text_iter("y"))

    for stream in (False, True):
        state = reads.run(backend=fake(), stream=stream)
        assert state.ret_value == ("a!", "b!", "!")


@pytest.fixture
def late():
    """A program that stops in the middle, until it is let go."""
    may_go_on = threading.Event()

    @sgl.function
    def program(s):
        s += "a"
        assert may_go_on.wait(5)
        s += sgl.gen("x")
        s["set"] = 5
        return "end"

    return program, may_go_on


READS = {
    "value": (lambda state: state["x"], "!"),
    "pieces": (lambda state: list(state.text_iter("x")), ["!"]),
    "known": (lambda state: "x" in state, True),
    "unknown": (lambda state: "y" in state, False),
    "set": (lambda state: state.get_var("set"), 5),
    "meta": (lambda state: state.get_meta_info("x")["prompt"], "a"),
    "text": (lambda state: state.text(), "a!"),
    "messages": (lambda state: state.messages(), []),
    "return": (lambda state: state.ret_value, "end"),
    "error": (lambda state: state.error(), None),
}


@pytest.mark.parametrize("name", READS)
def test_what_the_program_is_yet_to_come_to_is_waited_for(fake, late, name):
    program, may_go_on = late
    read, expected = READS[name]
    state = program.run(stream=True, backend=fake())
    found = []
    reader = threading.Thread(target=lambda: found.append(read(state)))
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    may_go_on.set()
    reader.join(5)
    assert found == [expected]


def test_what_the_program_never_comes_to_is_unknown_at_its_end(fake, late):
    program, may_go_on = late
    state = program.run(stream=True, backend=fake())
    threading.Timer(0.05, may_go_on.set).start()
    with pytest.raises(UnknownVariable, match=r"'y'. There are: 'x', 'set'\."):
        state["y"]


def test_the_program_itself_does_not_wait_for_what_it_will_not_make(fake):
    @sgl.function
    def asks(s):
        s += sgl.gen("x")
        found = []

        def read():
            with pytest.raises(UnknownVariable):
                s["typo"]
            found.append("x" in s and "typo" not in s)

        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        read()
        return found

    assert asks.run(stream=True, backend=fake()).ret_value == [True, True]


def test_an_error_in_the_program_reaches_every_reader(fake):
    @sgl.function
    def breaks(s):
        s += "a" + sgl.gen("before")
        s["before"]
        s += sgl.gen("under way")
        raise ValueError("broken")

    async def answer(text):
        return "!" if text == "a" else await asyncio.Event().wait()

    state = breaks.run(stream=True, backend=fake(answer))
    assert state["before"] == "!"
    for read in (
        lambda: state["under way"],
        lambda: state["never"],
        lambda: list(state.text_iter("never")),
        lambda: list(state.text_iter()),
        lambda: state.ret_value,
        state.text,
    ):
        with pytest.raises(ProgramFailed, match="ValueError: broken"):
            read()
    assert isinstance(state.error().__cause__, ValueError)


def test_a_stream_that_fails_in_the_middle_says_what_came_before(fake, monkeypatch):
    backend = fake(lambda text: "abcd")
    whole = backend.stream

    async def half(transcript, call):
        async for answer in whole(transcript, call):
            yield answer
            if len(answer.text) == 2:
                raise OSError("cut")

    monkeypatch.setattr(backend, "stream", half)
    heard = []
    with pytest.raises(ProgramFailed, match=r"gen\('first'\) failed.*OSError: cut") as caught:
        for piece in talk.run(stream=True, backend=backend).text_iter("first"):
            heard.append(piece)
    assert "".join(heard) == "ab"
    names = [each.name for each in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "talk"


def test_a_stream_without_an_answer_is_an_error(fake):
    state = talk.run(stream=True, backend=fake(lambda text: ""))
    with pytest.raises(ProgramFailed, match="stream ended before it began"):
        state["first"]


def test_coroutines_hear_text_and_variables(fake):
    async def read():
        state = talk.run(stream=True, backend=fake(answers))
        text = [piece async for piece in state.text_async_iter()]
        second = [piece async for piece in state.text_async_iter("second")]
        return "".join(text), "".join(second)

    assert asyncio.run(read()) == (TEXT, "de")


def test_coroutines_hear_meta_data_too(fake):
    async def read():
        state = talk.run(stream=True, backend=fake(answers))
        return [pair async for pair in state.text_async_iter("second", return_meta_data=True)]

    pairs = asyncio.run(read())
    assert "".join(piece for piece, _ in pairs) == "de"
    assert pairs[-1][1] == {"prompt": "Hi you. abc; ", "num": 2}


def test_meta_data_are_of_a_variable(fake):
    async def read():
        state = talk.run(backend=fake())
        return [pair async for pair in state.text_async_iter(return_meta_data=True)]

    with pytest.raises(InvalidProgram, match="name one"):
        asyncio.run(read())


def test_a_coroutine_that_waits_holds_up_no_other(fake, late):
    program, may_go_on = late

    async def read():
        state = program.run(stream=True, backend=fake())
        reader = asyncio.create_task(anext(state.text_async_iter("x")))
        await asyncio.sleep(0.02)
        assert not reader.done()
        may_go_on.set()
        return await reader

    assert asyncio.run(read()) == "!"


def test_a_coroutine_that_gives_up_leaves_the_others_waiting(fake, late):
    program, may_go_on = late

    async def read():
        state = program.run(stream=True, backend=fake())
        tasks = [asyncio.create_task(anext(state.text_async_iter("x"))) for _ in range(2)]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        may_go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    gone, heard = asyncio.run(read())
    assert isinstance(gone, asyncio.CancelledError) and heard == "!"


def test_errors_reach_coroutines(fake):
    def fail(text):
        raise OSError("no answer")

    async def read(name):
        state = talk.run(stream=True, backend=fake(fail))
        return [piece async for piece in state.text_async_iter(name)]

    with pytest.raises(ProgramFailed, match="OSError: no answer"):
        asyncio.run(read("first"))
    with pytest.raises((ProgramFailed, UnknownVariable)):
        asyncio.run(read("never"))


def test_a_reader_that_leaves_does_not_disturb_the_program(fake):
    state_of = {}

    async def read_one():
        state = state_of["state"] = talk.run(stream=True, backend=fake(answers))
        async for _ in state.text_async_iter():
            break

    asyncio.run(read_one())
    assert state_of["state"].text() == TEXT
    for _ in state_of["state"].text_iter():
        break
    assert state_of["state"].error() is None


def test_guessing_ahead_cannot_be_streamed(fake):
    program = sgl.function(talk.func, num_api_spec_tokens=8)
    with pytest.raises(InvalidProgram, match="num_api_spec_tokens cannot be streamed"):
        program.run(stream=True, backend=fake())


def test_a_piece_is_heard_before_the_next_is_made(fake):
    heard = asyncio.Event()
    backend = fake()

    async def stream(transcript, call):
        yield Answer("a", {})
        await heard.wait()
        yield Answer("ab", {})

    backend.stream = stream
    state = sgl.function(lambda s: s.__iadd__(sgl.gen("x")) and None).run(
        stream=True, backend=backend
    )
    pieces = state.text_iter("x")
    assert next(pieces) == "a"
    backend.loop.call_soon(heard.set)
    assert list(pieces) == ["b"]

"""Reading from a program that another thread still runs, or that ended early."""

import threading

import pytest

import sgjax as sgl
from sgjax.errors import ProgramFailed, UnknownVariable

WAIT_S = 30


@pytest.fixture
def late():
    """A program that comes to its variable only when somebody is likely to wait for it."""
    may_go_on = threading.Event()

    @sgl.function
    def program(s):
        assert may_go_on.wait(WAIT_S)
        s += "The capital of France is" + sgl.gen("capital", max_tokens=4)
        return "done"

    timer = threading.Timer(0.1, may_go_on.set)
    timer.start()
    yield program
    timer.join()


def test_a_variable_that_the_program_is_yet_to_come_to_is_waited_for(late, demo_engine):
    state = late.run(stream=True, temperature=0, backend=demo_engine)
    assert state["capital"] == " Paris."


def test_its_pieces_are_waited_for_too(late, demo_engine):
    state = late.run(stream=True, temperature=0, backend=demo_engine)
    assert "".join(state.text_iter("capital")) == " Paris."


def test_the_whole_text_is_that_of_the_whole_program(late, demo_engine):
    state = late.run(stream=True, temperature=0, backend=demo_engine)
    assert state.text() == "The capital of France is Paris."
    assert state.ret_value == "done"


def test_a_variable_that_never_comes_is_unknown_at_the_program_s_end(late, demo_engine):
    state = late.run(stream=True, temperature=0, backend=demo_engine)
    with pytest.raises(UnknownVariable, match="'capital'"):
        state["currency"]


@sgl.function
def breaks(s, number):
    s += "One"
    s += str(10 // number) + sgl.gen("rest", max_tokens=2)


def test_a_variable_that_an_error_kept_from_coming_raises_that(demo_engine):
    state = breaks.run(0, stream=True, backend=demo_engine)
    with pytest.raises(ProgramFailed, match="ZeroDivisionError") as caught:
        state["rest"]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(ProgramFailed, match="ZeroDivisionError"):
        list(state.text_iter("rest"))


def test_so_it_does_for_an_item_of_a_batch_and_for_that_alone(demo_engine):
    good, bad = breaks.run_batch([[2], [0]], backend=demo_engine)
    assert good.error() is None and good.text().startswith("One5")
    with pytest.raises(ProgramFailed, match="ZeroDivisionError"):
        bad["rest"]

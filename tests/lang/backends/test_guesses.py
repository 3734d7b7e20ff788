"""What of a guess fits, and how a message that says several things is taken apart."""

from typing import Any

import pytest

from sgjax.lang.backends.contract import Call
from sgjax.lang.backends.guesses import Guess, split_turn


def call(stop: Any = None, limit: int = 100) -> Call:
    return Call({"stop": stop, "max_new_tokens": limit})


def guess(*pieces: str, has_ended: bool = False) -> Guess:
    return Guess(3, pieces, has_ended, {})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("abc", ("de", "", "f")),
        ("abcd", ("e", "", "f")),
        ("abcde", ("", "f")),
        ("abcdef", ()),
        ("abcdefg", None),
        ("abcx", None),
    ],
)
def test_what_is_left_of_a_guess_is_behind_what_the_program_says(text: str, left: Any):
    found = guess("de", "", "f").behind(text)
    assert (found and found.pieces) == left
    assert found is None or found.begin == len(text)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (call("."), ("a b", "stop")),
        (call(["!", " b"]), ("a", "stop")),
        (call(".", limit=2), ("a b", "length")),
        (call(limit=4), ("a b. c", "length")),
        (call("?", limit=5), None),
    ],
)
def test_a_call_takes_from_a_guess_what_the_model_would_have_given(asked: Call, answer: Any):
    assert guess("a", " b", ".", " c").answer(asked) == answer


def test_a_guess_that_has_ended_ends_the_answer():
    assert guess("a", has_ended=True).answer(call("?")) == ("a", "stop")


@pytest.mark.parametrize(
    ("said", "parts", "values"),
    [
        ("Name: Ann\nJob: cook", ["Name:", call("\n"), "\nJob:", call("\n")], [" Ann", " cook"]),
        (
            "\n Name: Ann\nJob: cook\n",
            [" Name:", call("\n"), "\nJob:", call()],
            [" Ann", " cook\n"],
        ),
        # A stop that the text behind it does not begin with.
        ("Ann. She", [call("."), " She"], ["Ann"]),
        # No stop: the text behind it ends it.
        ("Ann, a cook, of Rome", [call(), ", of ", call("!")], ["Ann, a cook", "Rome"]),
        # The nearest of several.
        ("a;b.c", [call([".", ";"]), ";b", call()], ["a", ".c"]),
        ("a.b", [call("."), call()], ["a", ".b"]),
        ("Name: Ann", ["Job:", call()], None),
        ("Name: Ann", ["Name:", call("\n"), "\nJob:", call()], None),
        ("Name: Ann\nAge: 3", ["Name:", call("\n"), "\nJob:", call()], None),
    ],
)
def test_a_message_is_taken_apart_by_its_texts(said: str, parts: Any, values: Any):
    assert split_turn(said, parts) == values

"""Programs that several APIs are asked to run."""

from typing import Any

import pytest

import sgjax as sgl
from sgjax.errors import ProgramFailed

PNG = b"\x89PNG\r\n\x1a\n0"


@sgl.function
def capital(s: Any, country: str, **params: Any) -> None:
    s += sgl.system("Answer in one word.")
    s += sgl.user(f"The capital of {country}?")
    s += sgl.assistant(sgl.gen("capital", **params))


@sgl.function
def begun(s: Any) -> None:
    s += sgl.user("The capital of France?")
    s += sgl.assistant("It is " + sgl.gen("capital"))


@sgl.function
def plain(s: Any) -> None:
    s += "The capital of France is" + sgl.gen("capital")


@sgl.function
def look(s: Any, picture: bytes) -> None:
    s += sgl.user(sgl.image(picture) + "What is this?")
    s += sgl.assistant(sgl.gen("what"))


@sgl.function
def judge(s: Any, **kwargs: Any) -> None:
    s += sgl.user("Is it good?")
    s += sgl.assistant(sgl.select("good", ["yes", "no"], **kwargs))


def cause(state: Any, name: str) -> BaseException | None:
    """Why a value cannot be had."""
    with pytest.raises(ProgramFailed) as found:
        state[name]
    return found.value.__cause__

"""Sampling parameters by the names of an API; those that it lacks are refused."""

from collections.abc import Collection, Mapping
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.backends.contract import Call

_UNSAID: dict[str, Any] = {
    # What a program gets that says nothing of it. Others say nothing if they are None.
    "stop": [],
    "stop_token_ids": [],
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "ignore_eos": False,
}


def parameters(
    call: Call, names: Mapping[str, str], *, api: str, always: Collection[str] = ()
) -> dict[str, Any]:
    """By the API's `names`. Those that say nothing are left out, unless they are in `always`.

    Raises:
        InvalidProgram: the program says something that the API has no name for.
    """
    if call.logprobs.get("return_logprob"):
        _refuse("return_logprob", api)
    found = {}
    for name, given in call.params.items():
        value = stops_of(call) if name == "stop" else given
        says_something = value is not None and value != _UNSAID.get(name)
        if name == "stop_token_ids" and not value:
            says_something = False
        if name in names and (says_something or name in always):
            found[names[name]] = value
        elif says_something:
            _refuse(name, api)
    return found


def stops_of(call: Call) -> list[str]:
    """Texts that end the answer."""
    stops = call.params.get("stop") or ()
    return [stops] if isinstance(stops, str) else list(stops)


def _refuse(name: str, api: str) -> None:
    raise InvalidProgram(
        f"{api} has no {name}. Leave it out, or run the program on an Engine or on a server of "
        "sgjax's."
    )

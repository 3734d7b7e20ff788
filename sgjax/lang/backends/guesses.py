"""What a model said ahead of the program, and how much of it the program can use."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.backends.api_params import stops_of
from sgjax.lang.backends.contract import Call

_BOUNDS = ("regex", "json_schema", "ebnf")
_LENGTHS = ("max_new_tokens", "stop")


@dataclasses.dataclass(frozen=True)
class Guess:
    """Tokens' texts, from a place in the program's text on."""

    begin: int
    pieces: tuple[str, ...]
    has_ended: bool
    """Whether the model had no more to say."""
    params: Mapping[str, Any]
    """What it was drawn with."""

    def behind(self, text: str) -> "Guess | None":
        """What is left of it behind the program's text so far; None: that says something else."""
        said = text[self.begin :]
        if not "".join(self.pieces).startswith(said):
            return None
        left, passed = list(self.pieces), len(said)
        while passed and passed >= len(left[0]):
            passed -= len(left.pop(0))
        if passed:
            left[0] = left[0][passed:]
        return dataclasses.replace(self, begin=len(text), pieces=tuple(left))

    def answer(self, call: Call) -> tuple[str, str] | None:
        """The call's answer and why it ends; None: more must be said to know."""
        limit = call.params["max_new_tokens"]
        text = "".join(self.pieces[:limit])
        ends = [at for stop in stops_of(call) if (at := text.find(stop)) >= 0]
        if ends:
            return text[: min(ends)], "stop"
        if len(self.pieces) >= limit:
            return text, "length"
        return (text, "stop") if self.has_ended else None


def drawn_with(call: Call) -> dict[str, Any]:
    """Parameters that decide what a model says, if not how much of it."""
    return {name: value for name, value in call.params.items() if name not in _LENGTHS}


def is_bound(call: Call) -> bool:
    """Whether the answer has a form of its own, and so is nothing that text could follow in."""
    return call.dtype is not None or any(call.params.get(name) is not None for name in _BOUNDS)


def check_same(calls: Sequence[Call]) -> None:
    """Raises InvalidProgram for calls whose answers cannot be one."""
    for call in calls:
        if is_bound(call):
            raise InvalidProgram(
                "With num_api_spec_tokens all texts and gens of an assistant's message are one "
                "call, so a gen cannot have a dtype, regex, json_schema or ebnf unless it is alone "
                "in its message."
            )
        if drawn_with(call) != drawn_with(calls[0]):
            raise InvalidProgram(
                "With num_api_spec_tokens all gens of an assistant's message are one call, so they "
                "must have the same sampling parameters, but for max_tokens and stop."
            )


def split_turn(said: str, parts: Sequence[str | Call]) -> list[str] | None:
    """The calls' answers in a message that says all parts. None: it does not.

    A call's answer ends at the nearest of its stops and the text that follows it; that text may
    begin with the stop, or stand behind it. White space that a message begins with does not count.
    """
    rest, values = said.lstrip(), []
    for index, part in enumerate(parts):
        if isinstance(part, str):
            text = part if values else part.lstrip()
            if not rest.startswith(text):
                return None
            rest = rest[len(text) :]
            continue
        follower = parts[index + 1] if index + 1 < len(parts) else None
        following = follower if isinstance(follower, str) else ""
        ends = [*stops_of(part), following]
        found = [(at, end) for end in ends if end and (at := rest.find(end)) >= 0]
        if not found and follower is not None:
            return None
        at, end = min(found) if found else (len(rest), "")
        values.append(rest[:at])
        rest = rest[at:]
        if not rest.startswith(following):
            rest = rest.removeprefix(end)
    return values

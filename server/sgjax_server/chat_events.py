"""What a chat's sample says, as it comes and as a whole, in no client's form."""

import dataclasses
from typing import NamedTuple

from sgjax.engine.messages import Logprobs
from sgjax.engine.request import FinishReason
from sgjax.front.piece import extended


class Content(NamedTuple):
    """More of the answer. `text` is empty where only logprobs came."""

    text: str
    logprobs: Logprobs | None = None
    """Of the tokens that came since the last ones, whatever they are: answer, thought or call."""


class Reasoning(NamedTuple):
    """More of the thoughts before the answer."""

    text: str


class CallBegin(NamedTuple):
    """A call of a tool. Calls of a sample count from 0; each ends before the next begins."""

    index: int
    id: str
    name: str


class CallArguments(NamedTuple):
    """More of a call's arguments, which are JSON text."""

    index: int
    fragment: str


class End(NamedTuple):
    """The last event of a sample."""

    reason: str
    """OpenAI's: "stop", "length", "tool_calls"; or "abort"."""
    finish: FinishReason
    """Why the engine ended."""


Event = Content | Reasoning | CallBegin | CallArguments | End


@dataclasses.dataclass(slots=True)
class Call:
    """A call of a tool, as a whole."""

    id: str
    name: str
    arguments: str = ""


@dataclasses.dataclass(slots=True)
class ChatMessage:
    """All that a sample said."""

    content: str = ""
    reasoning: str = ""
    calls: list[Call] = dataclasses.field(default_factory=list)
    logprobs: Logprobs | None = None
    end: End | None = None

    def add(self, event: Event) -> None:
        """Takes in the event that follows."""
        match event:
            case Content(text, logprobs):
                self.content += text
                self.logprobs = extended(self.logprobs, logprobs)
            case Reasoning(text):
                self.reasoning += text
            case CallBegin(_, call_id, name):
                self.calls.append(Call(call_id, name))
            case CallArguments(index, fragment):
                self.calls[index].arguments += fragment
            case End():
                self.end = event

"""What a message says, as Anthropic's blocks, and the events that tell of them while they grow."""

import hashlib
from typing import Any

from pydantic_core import from_json

from sgjax_server.chat_events import CallArguments, CallBegin, Content, Event, Reasoning

Told = dict[str, Any]
"""An event of a stream."""


class Blocks:
    """The content of a message: at most the last block still grows."""

    def __init__(self, *, shows_thoughts: bool):
        self._shows_thoughts = shows_thoughts
        self._ended: list[dict[str, Any]] = []
        self._kind: str | None = None
        """Of the block that grows."""
        self._fields: dict[str, Any] = {}
        """Those that it began with."""
        self._text: list[str] = []

    @property
    def content(self) -> list[dict[str, Any]]:
        """The blocks that have ended."""
        return self._ended

    def take(self, news: Event) -> list[Told]:
        """Takes in the event that follows, if it is not the End."""
        match news:
            case Content(text) if text:
                told = self._begin_text("text", {"type": "text", "text": ""})
                return [*told, self._grow({"type": "text_delta", "text": text}, text)]
            case Reasoning(text) if self._shows_thoughts:
                empty = {"type": "thinking", "thinking": "", "signature": ""}
                told = self._begin_text("thinking", empty)
                return [*told, self._grow({"type": "thinking_delta", "thinking": text}, text)]
            case CallBegin(_, call_id, name):
                fields = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
                return [*self.end(), *self._begin("tool_use", fields)]
            case CallArguments(_, text) if text:
                return [self._grow({"type": "input_json_delta", "partial_json": text}, text)]
        return []

    def end(self) -> list[Told]:
        """Ends what still grows."""
        if self._kind is None:
            return []
        told = []
        block = _whole(self._fields, "".join(self._text))
        if self._kind == "thinking":
            told.append(self._delta({"type": "signature_delta", "signature": block["signature"]}))
        told.append({"type": "content_block_stop", "index": len(self._ended)})
        self._ended.append(block)
        self._kind = None
        return told

    def _begin_text(self, kind: str, fields: dict[str, Any]) -> list[Told]:
        return [] if self._kind == kind else [*self.end(), *self._begin(kind, fields)]

    def _begin(self, kind: str, fields: dict[str, Any]) -> list[Told]:
        self._kind, self._fields, self._text = kind, fields, []
        index = len(self._ended)
        return [{"type": "content_block_start", "index": index, "content_block": fields}]

    def _grow(self, delta: Told, text: str) -> Told:
        self._text.append(text)
        return self._delta(delta)

    def _delta(self, delta: Told) -> Told:
        return {"type": "content_block_delta", "index": len(self._ended), "delta": delta}


def _whole(fields: dict[str, Any], text: str) -> dict[str, Any]:
    match fields["type"]:
        case "text":
            return {**fields, "text": text}
        case "thinking":
            return {**fields, "thinking": text, "signature": _signature(text)}
        case _:
            return {**fields, "input": _input(text)}


def _signature(thoughts: str) -> str:
    """Clients send thoughts back only with a signature. Nothing here hangs on it."""
    return hashlib.blake2b(thoughts.encode(), digest_size=16).hexdigest()


def _input(text: str) -> dict[str, Any]:
    """Arguments of a call. Those that were cut off go as far as they came; what is no object at all
    is there to be seen."""
    if not text.strip():
        return {}
    try:
        found = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"invalid_json": text}

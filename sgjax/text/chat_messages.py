"""The messages of a chat, brought to the form that chat templates are written for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidRequest


def normalize_messages(messages: Any, *, keep_none: bool = False) -> list[dict[str, Any]]:
    """A copy of the messages in which every content is a string.

    Parts of text are joined as they are, with nothing between. An assistant's content may be
    missing or None: it becomes "", or with `keep_none` None where there are tool calls. The
    arguments of its tool calls, which come as JSON text, become the object they spell. Other keys
    whose value is None are left out: templates ask whether a key is there.

    Raises:
        InvalidRequest: a message is misshapen, or has a part that is no text.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise InvalidRequest("messages must be a list with at least one message.", param="messages")
    return [
        _message(message, f"messages[{index}]", keep_none) for index, message in enumerate(messages)
    ]


def _message(message: Any, where: str, keep_none: bool) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidRequest(
            f"{where} must be an object with role and content, not {type(message).__name__}.",
            param=where,
        )
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequest(
            f"{where}.role must be a string such as 'user', not {role!r}.", param=f"{where}.role"
        )
    out = {key: value for key, value in message.items() if value is not None}
    out["content"] = _content(message.get("content"), role, f"{where}.content")
    if "tool_calls" in out:
        out["tool_calls"] = _tool_calls(out["tool_calls"], f"{where}.tool_calls")
        if keep_none and out["tool_calls"] and not out["content"]:
            out["content"] = None
    return out


def _content(content: Any, role: str, where: str) -> str:
    if isinstance(content, str):
        return content
    if content is None and role == "assistant":
        return ""
    if isinstance(content, Sequence):
        return "".join(_part(part, f"{where}[{index}]") for index, part in enumerate(content))
    raise InvalidRequest(
        f"{where} must be a string or a list of text parts, not {_kind(content)}.", param=where
    )


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind == "text" or not isinstance(kind, str):
        raise InvalidRequest(
            f'{where} must be a part like {{"type": "text", "text": "..."}}.', param=where
        )
    raise InvalidRequest(
        f"{where} is of type {kind!r}, but this model reads text only. "
        "Send parts of type 'text', or serve a model that reads such input.",
        param=where,
    )


def _tool_calls(calls: Any, where: str) -> list[Any]:
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise InvalidRequest(f"{where} must be a list, not {_kind(calls)}.", param=where)
    return [_tool_call(call, f"{where}[{index}]") for index, call in enumerate(calls)]


def _tool_call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise InvalidRequest(f"{where} must be an object with a function.", param=where)
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return dict(call)
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        return dict(call)  # a model may have written nonsense: show it as it was
    return {**call, "function": {**function, "arguments": parsed}}


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__

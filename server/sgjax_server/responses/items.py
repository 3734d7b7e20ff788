"""Items of responses, as they are kept and listed: what came in, and what went out.

Both are dicts in OpenAI's form, with ids of ours. As messages of a chat they make the prompt:

    message                user, system, developer or assistant
    reasoning              the reasoning_content  ⎫ of one message
    function_call          one of the tool_calls  ⎭ of the assistant
    function_call_output   a message of the tool
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from sgjax.errors import InvalidRequest
from sgjax_server.responses.input import (
    FunctionCall,
    FunctionCallOutput,
    Input,
    ItemReference,
    Message,
    Part,
    RefusalPart,
    Thoughts,
)

Item = dict[str, Any]


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def read_items(given: str | Iterable[Input], find: Callable[[str], Item]) -> list[Item]:
    """The items of an input.

    Args:
        find: the item that was kept under an id. It may raise RequestError.

    Raises:
        InvalidRequest: an item cannot be read.
    """
    if isinstance(given, str):
        return [_message("user", [_text("user", given)])]
    return [_item(each, f"input[{at}]", find) for at, each in enumerate(given)]


def _item(given: Input, where: str, find: Callable[[str], Item]) -> Item:
    match given:
        case Message():
            return _message(given.role, _parts(given.role, given.content))
        case FunctionCall():
            return {
                "id": new_id("fc"),
                "type": "function_call",
                "call_id": given.call_id,
                "name": given.name,
                "arguments": given.arguments,
                "status": "completed",
            }
        case FunctionCallOutput():
            content = given.output
            return {
                "id": new_id("fco"),
                "type": "function_call_output",
                "call_id": given.call_id,
                "output": content if isinstance(content, str) else _parts("tool", content),
                "status": "completed",
            }
        case Thoughts():
            return _thoughts(given, where)
        case ItemReference():
            return find(given.id)


def _message(role: str, content: list[Item]) -> Item:
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": role,
        "content": content,
        "status": "completed",
    }


def _parts(role: str, content: str | list[Part]) -> list[Item]:
    if isinstance(content, str):
        return [_text(role, content)]
    return [
        {"type": "refusal", "refusal": part.refusal}
        if isinstance(part, RefusalPart)
        else _text(role, part.text)
        for part in content
    ]


def _text(role: str, text: str) -> Item:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": []}
    return {"type": "input_text", "text": text}


def _thoughts(given: Thoughts, where: str) -> Item:
    if given.encrypted_content and not given.content:
        raise InvalidRequest(
            f"{where}.encrypted_content cannot be read here: it was written by another server. "
            "Leave the reasoning item out, or send its content.",
            param="input",
        )
    return {
        "id": new_id("rs"),
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": part.text} for part in given.summary or ()],
        "content": [{"type": "reasoning_text", "text": part.text} for part in given.content or ()],
        "status": "completed",
    }


def messages_of(instructions: str | None, items: Iterable[Item]) -> list[dict[str, Any]]:
    """The messages of a chat.

    Many templates know one message of the system, the first: instructions and what the developer
    says at once behind them are one.

    Raises:
        InvalidRequest: the output of a function has no call.
    """
    chat = _Chat(instructions)
    for item in items:
        match item["type"]:
            case "message":
                chat.add_message(item["role"], _joined(item["content"]))
            case "reasoning":
                chat.of_assistant("reasoning_content", _joined(item["content"]))
            case "function_call":
                chat.add_call(item)
            case "function_call_output":
                chat.add_output(item)
    return chat.messages


class _Chat:
    """Messages, as they are put together."""

    def __init__(self, instructions: str | None):
        self.messages: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}
        """Of functions, by the ids of their calls."""
        if instructions is not None:
            self.messages.append({"role": "system", "content": instructions})

    def add_message(self, role: str, text: str) -> None:
        last = self.messages[-1] if self.messages else {}
        if role == "assistant":
            self.of_assistant("content", text)
        elif role in ("system", "developer") and len(self.messages) == 1 and _is_system(last):
            last["content"] += f"\n\n{text}"
        else:
            self.messages.append({"role": role, "content": text})

    def of_assistant(self, field: str, text: str) -> None:
        """Thoughts begin a message, and an answer does that has one before it already."""
        if not text and field == "reasoning_content":
            return
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant" or last["content"] or "tool_calls" in last:
            last = {"role": "assistant", "content": ""}
            self.messages.append(last)
        last[field] = last.get(field, "") + text

    def add_call(self, item: Item) -> None:
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": ""})
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        self.messages[-1].setdefault("tool_calls", []).append(call)
        self._names[item["call_id"]] = item["name"]

    def add_output(self, item: Item) -> None:
        call_id, output = item["call_id"], item["output"]
        if call_id not in self._names:
            raise InvalidRequest(
                f"The input has an output of the call {call_id[:80]!r}, but no function_call of "
                "this call_id before it. Send the call too, or previous_response_id.",
                param="input",
            )
        self.messages.append(
            {
                "role": "tool",
                "tool_call_id": call_id,
                "name": self._names[call_id],
                "content": output if isinstance(output, str) else _joined(output),
            }
        )


def _is_system(message: dict[str, Any]) -> bool:
    return message["role"] in ("system", "developer")


def _joined(parts: Iterable[Item]) -> str:
    """Parts of text, with nothing between, as chats have it."""
    return "".join(part["refusal"] if "refusal" in part else part["text"] for part in parts)

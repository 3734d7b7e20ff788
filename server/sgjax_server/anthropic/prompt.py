"""Anthropic's messages as those of a chat.

    user        tool_result   a message of the tool each
                text          a message of the user behind them
    assistant   thinking      the reasoning_content  ⎫
                text          the content            ⎬ of one message of the assistant
                tool_use      one of the tool_calls  ⎭

Turns of one role that follow one another are one turn.
"""

import json
from collections.abc import Sequence
from typing import Any

from sgjax.errors import InvalidRequest
from sgjax_server.anthropic.body import Message
from sgjax_server.anthropic.content import (
    Block,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    text_of,
)

_BETWEEN_TURNS = "\n\n"


def messages_of(
    system: str | list[TextBlock] | None, messages: Sequence[Message]
) -> list[dict[str, Any]]:
    """The messages of a chat.

    Raises:
        InvalidRequest: a block stands where it has no meaning.
    """
    chat = _Chat()
    if system:
        chat.add_text("system", text_of(system))
    for index, message in enumerate(messages):
        content = message.content
        blocks = [TextBlock(type="text", text=content)] if isinstance(content, str) else content
        chat.add_turn(message.role, blocks, f"messages.{index}")
    return chat.messages


class _Chat:
    """Messages, as they are put together."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}
        """Of tools, by the ids of their calls."""

    def add_turn(self, role: str, blocks: Sequence[Block], where: str) -> None:
        texts: list[str] = []
        for at, block in enumerate(blocks):
            match block:
                case TextBlock():
                    texts.append(block.text)
                case ToolResultBlock() if role == "user":
                    self._add_result(block, f"{where}.content.{at}")
                case ThinkingBlock() if role == "assistant":
                    self._begin_assistant()
                    self._add("reasoning_content", block.thinking)
                case ToolUseBlock() if role == "assistant":
                    self._begin_assistant()
                    self._add_call(block)
                case _:
                    raise InvalidRequest(
                        f"{where}.content.{at}: a block of type {block.type!r} has no meaning in a "
                        f"message of the {role}.",
                        param="messages",
                    )
        if texts or not blocks:
            self.add_text(role, "".join(texts))

    def add_text(self, role: str, text: str) -> None:
        if role == "assistant":
            self._begin_assistant()
        elif self._last_role != role:
            self.messages.append({"role": role, "content": ""})
        self._add("content", text)

    @property
    def _last_role(self) -> str | None:
        return self.messages[-1]["role"] if self.messages else None

    def _begin_assistant(self) -> None:
        if self._last_role != "assistant":
            self.messages.append({"role": "assistant", "content": ""})

    def _add(self, field: str, text: str) -> None:
        message = self.messages[-1]
        before = message.get(field)
        message[field] = f"{before}{_BETWEEN_TURNS}{text}" if before else text

    def _add_call(self, block: ToolUseBlock) -> None:
        arguments = json.dumps(block.input, ensure_ascii=False)
        function = {"name": block.name, "arguments": arguments}
        call = {"id": block.id, "type": "function", "function": function}
        self.messages[-1].setdefault("tool_calls", []).append(call)
        self._names[block.id] = block.name

    def _add_result(self, block: ToolResultBlock, where: str) -> None:
        if block.tool_use_id not in self._names:
            raise InvalidRequest(
                f"{where}: there is no tool_use block of the id {block.tool_use_id[:80]!r} before "
                "this tool_result.",
                param="messages",
            )
        text = text_of(block.content)
        self.messages.append(
            {
                "role": "tool",
                "tool_call_id": block.tool_use_id,
                "name": self._names[block.tool_use_id],
                "content": f"Error: {text}" if block.is_error else text,
            }
        )

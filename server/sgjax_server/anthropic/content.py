"""What messages are made of, as Anthropic's clients write it: text, or blocks of several kinds."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sgjax_server.kinds import TEXT_OR_LIST, by, kind, one_of, tag, text_or_list
from sgjax_server.protocol import MAX_MESSAGES, Body, Name

_UNSERVED = (
    "bash_code_execution_tool_result",
    "browser_state",
    "code_execution_tool_result",
    "container_upload",
    "document",
    "image",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "text_editor_code_execution_tool_result",
    "tool_reference",
    "tool_search_tool_result",
    "web_fetch_tool_result",
    "web_search_tool_result",
)


class TextBlock(Body):
    type: Literal["text"]
    text: str


Text = Annotated[TextBlock, one_of("text", refused=_UNSERVED)]
TextContent = Annotated[
    Annotated[str, tag("text")]
    | Annotated[list[Text], Field(max_length=MAX_MESSAGES), tag("list")],
    by(text_or_list),
    TEXT_OR_LIST,
]


class ThinkingBlock(Body):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class ToolUseBlock(Body):
    type: Literal["tool_use"]
    id: Name
    name: Name
    input: dict[str, Any]


class ToolResultBlock(Body):
    type: Literal["tool_result"]
    tool_use_id: Name
    content: TextContent | None = None
    is_error: bool | None = None


Block = Annotated[
    Annotated[TextBlock, tag("text")]
    | Annotated[ThinkingBlock, tag("thinking")]
    | Annotated[ToolUseBlock, tag("tool_use")]
    | Annotated[ToolResultBlock, tag("tool_result")],
    by(kind),
    one_of("text", "thinking", "tool_use", "tool_result", refused=_UNSERVED),
]
Content = Annotated[
    Annotated[str, tag("text")]
    | Annotated[list[Block], Field(max_length=MAX_MESSAGES), tag("list")],
    by(text_or_list),
    TEXT_OR_LIST,
]


def text_of(content: str | list[TextBlock] | None) -> str:
    """Its text, with nothing between blocks."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(block.text for block in content)

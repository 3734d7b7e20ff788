"""The items that the input of a response is made of, as clients write them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sgjax_server.kinds import TEXT_OR_LIST, by, kind, one_of, tag, text_or_list
from sgjax_server.protocol import MAX_MESSAGES, Body, Name

ItemStatus = Literal["in_progress", "completed", "incomplete"]

UNSERVED_PARTS = ("input_audio", "input_file", "input_image", "input_video", "computer_screenshot")
UNSERVED_ITEMS = (
    "additional_tools",
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "compaction",
    "compaction_trigger",
    "computer_call",
    "computer_call_output",
    "configuration_update",
    "custom_tool_call",
    "custom_tool_call_output",
    "file_search_call",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "program_output",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
)


class TextPart(Body):
    type: Literal["input_text", "output_text", "text"]
    text: str


class RefusalPart(Body):
    type: Literal["refusal"]
    refusal: str


def _part_tag(value: Any) -> str:
    return "refusal" if kind(value) == "refusal" else "text"


Part = Annotated[
    Annotated[TextPart, tag("text")] | Annotated[RefusalPart, tag("refusal")],
    by(_part_tag),
    one_of("input_text", "output_text", "refusal", "text", refused=UNSERVED_PARTS),
]
Content = Annotated[
    Annotated[str, tag("text")]
    | Annotated[list[Part], Field(max_length=MAX_MESSAGES), tag("list")],
    by(text_or_list),
    TEXT_OR_LIST,
]


class Message(Body):
    type: Literal["message"] | None = None
    id: Name | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    status: ItemStatus | None = None


class FunctionCall(Body):
    type: Literal["function_call"]
    id: Name | None = None
    call_id: Name
    name: Name
    arguments: str
    status: ItemStatus | None = None


class FunctionCallOutput(Body):
    type: Literal["function_call_output"]
    id: Name | None = None
    call_id: Name
    output: Content
    status: ItemStatus | None = None


class SummaryPart(Body):
    type: Literal["summary_text"]
    text: str


class ThoughtPart(Body):
    type: Literal["reasoning_text", "text"]
    text: str


class Thoughts(Body):
    type: Literal["reasoning"]
    id: Name | None = None
    summary: Annotated[list[SummaryPart], Field(max_length=MAX_MESSAGES)] | None = None
    content: Annotated[list[ThoughtPart], Field(max_length=MAX_MESSAGES)] | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


class ItemReference(Body):
    type: Literal["item_reference"] | None = None
    id: Name


def _tag(value: Any) -> str:
    """A message and a reference need not say that they are one."""
    if found := kind(value):
        return found
    if not isinstance(value, dict):
        return "message" if isinstance(value, Message) else "item_reference"
    return "item_reference" if "id" in value and "role" not in value else "message"


Input = Annotated[
    Annotated[Message, tag("message")]
    | Annotated[FunctionCall, tag("function_call")]
    | Annotated[FunctionCallOutput, tag("function_call_output")]
    | Annotated[Thoughts, tag("reasoning")]
    | Annotated[ItemReference, tag("item_reference")],
    by(_tag),
    one_of(
        "message",
        "function_call",
        "function_call_output",
        "reasoning",
        "item_reference",
        refused=UNSERVED_ITEMS,
        default="message",
    ),
]

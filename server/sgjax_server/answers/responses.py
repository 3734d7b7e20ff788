"""Answers of /v1/responses, and the events of its streams."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sgjax_server.answers.form import Answer
from sgjax_server.answers.openai import TokenLogprob

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class TextPart(Answer):
    """Text of any side; of the output with annotations, of which there are none."""

    type: Literal["input_text", "output_text", "reasoning_text", "summary_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: list[TokenLogprob] | None = None


class Refusal(Answer):
    type: Literal["refusal"]
    refusal: str


class MessageItem(Answer):
    id: str
    type: Literal["message"]
    role: Literal["user", "system", "developer", "assistant"]
    content: list[TextPart | Refusal]
    status: ItemStatus


class ReasoningItem(Answer):
    id: str
    type: Literal["reasoning"]
    summary: list[TextPart]
    content: list[TextPart]
    status: ItemStatus


class CallItem(Answer):
    id: str
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


class CallOutputItem(Answer):
    id: str
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[TextPart | Refusal]
    status: ItemStatus


class InputItems(Answer):
    object: Literal["list"]
    data: list[MessageItem | ReasoningItem | CallItem | CallOutputItem]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponseError(Answer):
    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


class IncompleteDetails(Answer):
    reason: Literal["max_output_tokens"]


class ReasoningSaid(Answer):
    effort: str | None
    summary: None


class TextSaid(Answer):
    format: dict[str, Any]
    verbosity: str


class FunctionTool(Answer):
    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class CachedTokens(Answer):
    cached_tokens: int


class ReasoningTokens(Answer):
    reasoning_tokens: int


class ResponseUsage(Answer):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class ResponseObject(Answer):
    """What the request said of it stands in it again."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    background: bool
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, str]
    model: str
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: ReasoningSaid
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: TextSaid
    tool_choice: str | dict[str, Any]
    tools: list[FunctionTool]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    output: list[MessageItem | ReasoningItem | CallItem]
    usage: ResponseUsage | None


class InputTokens(Answer):
    object: Literal["response.input_tokens"]
    input_tokens: int


class DeletedResponse(Answer):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ResponseEvent(Answer, extra="allow"):
    """An event of a stream; what else it has hangs on its type."""

    type: Literal[
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    sequence_number: int

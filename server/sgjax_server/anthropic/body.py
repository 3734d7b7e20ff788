"""The bodies of POST /v1/messages and /v1/messages/count_tokens."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sgjax.front.token_ids import MAX_ID
from sgjax.sampling_params import MAX_NEW_TOKENS, MAX_STOPS
from sgjax_server import protocol
from sgjax_server.anthropic.content import Content, TextContent
from sgjax_server.constraint_bodies import ConstraintFields
from sgjax_server.kinds import by, kind, one_of, tag
from sgjax_server.protocol import MAX_MESSAGES, MAX_TOOLS, Body, Stop
from sgjax_server.tools.tool import NAME

LEAST_BUDGET = 1024

ToolName = Annotated[str, Field(pattern=f"^{NAME}$")]


class Message(Body):
    role: Literal["user", "assistant", "system"]
    content: Content


class Tool(Body):
    """A tool that its caller runs. Those of Anthropic have a type with a date in it."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None


class AutoChoice(Body):
    """The model decides; or calls some tool, with "any"."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(Body):
    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: bool | None = None


class NoChoice(Body):
    type: Literal["none"]


def _choice_tag(value: Any) -> str | None:
    return "auto" if kind(value) == "any" else kind(value)


ToolChoice = Annotated[
    Annotated[AutoChoice, tag("auto")]
    | Annotated[NamedChoice, tag("tool")]
    | Annotated[NoChoice, tag("none")],
    by(_choice_tag),
    one_of("auto", "any", "tool", "none"),
]


class BudgetThinking(Body):
    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=LEAST_BUDGET, le=MAX_NEW_TOKENS)]
    display: Literal["summarized", "omitted"] | None = None


class OtherThinking(Body):
    type: Literal["adaptive", "disabled"]
    display: Literal["summarized", "omitted"] | None = None


def _thinking_tag(value: Any) -> str:
    return "enabled" if kind(value) == "enabled" else "other"


Thinking = Annotated[
    Annotated[BudgetThinking, tag("enabled")] | Annotated[OtherThinking, tag("other")],
    by(_thinking_tag),
    one_of("enabled", "adaptive", "disabled", refused=("between_tools",)),
]


class JsonFormat(Body):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Body):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Annotated[JsonFormat, one_of("json_schema")] | None = None


class Metadata(Body):
    user_id: Annotated[str, Field(max_length=512)] | None = None


class PromptBody(Body):
    """What decides the prompt."""

    model: str | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: TextContent | None = None
    tools: (
        Annotated[
            list[Annotated[Tool, one_of("custom", default="custom")]], Field(max_length=MAX_TOOLS)
        ]
        | None
    ) = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class CountBody(PromptBody):
    """POST /v1/messages/count_tokens."""


class MessagesBody(PromptBody):
    """POST /v1/messages."""

    max_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]
    stop_sequences: Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=MAX_ID)] | None = None
    metadata: Metadata | None = None


IGNORED = protocol.IGNORED | {
    "cache_control",
    "context_management",
    "diagnostics",
    "inference_geo",
    "speed",
    "user_profile_id",
    "workspace_id",
}

UNSUPPORTED: dict[str, list[Any]] = {
    # What other routes have, and would be missed if it were passed over.
    **{name: [] for name in ConstraintFields.model_fields},
    "choice": [],
    "frequency_penalty": [],
    "logit_bias": [],
    "logprobs": [],
    "min_p": [],
    "n": [1],
    "presence_penalty": [],
    "repetition_penalty": [1],
    "seed": [],
    "stop": [],
    "top_logprobs": [],
    # What Anthropic's has.
    "container": [],
    "mcp_servers": [],
}

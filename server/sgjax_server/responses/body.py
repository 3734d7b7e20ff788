"""The bodies of POST /v1/responses and /v1/responses/input_tokens."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sgjax.sampling_params import MAX_NEW_TOKENS, MAX_STOPS
from sgjax_server import protocol
from sgjax_server.constraint_bodies import ConstraintFields
from sgjax_server.kinds import TEXT_OR_LIST, by, kind, one_of, tag, text_or_list
from sgjax_server.protocol import (
    MAX_MESSAGES,
    MAX_TOOLS,
    Body,
    Metadata,
    Name,
    Penalty,
    RepetitionPenalty,
    Stop,
    TopK,
    TopLogprobs,
)
from sgjax_server.responses.input import Input
from sgjax_server.tools.tool import NAME

ToolName = Annotated[str, Field(pattern=f"^{NAME}$")]

HOSTED_TOOLS = (
    "apply_patch",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "custom",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "namespace",
    "programmatic_tool_calling",
    "shell",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
)
"""OpenAI's tools that are no functions: nobody here runs them."""


class FunctionTool(Body):
    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


Tool = Annotated[FunctionTool, one_of("function", refused=HOSTED_TOOLS)]


class NamedTool(Body):
    type: Literal["function"]
    name: ToolName


class AllowedTools(Body):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[
        list[Annotated[NamedTool, one_of("function", refused=HOSTED_TOOLS)]],
        Field(min_length=1, max_length=MAX_TOOLS),
    ]


ToolMode = Literal["none", "auto", "required"]
ChosenTools = Annotated[
    Annotated[NamedTool, tag("function")] | Annotated[AllowedTools, tag("allowed_tools")],
    by(kind),
    one_of("function", "allowed_tools", refused=HOSTED_TOOLS),
]


def _mode_or_object(value: Any) -> str:
    return "mode" if isinstance(value, str) else "tool"


class PlainFormat(Body):
    type: Literal["text", "json_object"]


class SchemaFormat(Body):
    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


def _format_tag(value: Any) -> str:
    return "json_schema" if kind(value) == "json_schema" else "plain"


Format = Annotated[
    Annotated[PlainFormat, tag("plain")] | Annotated[SchemaFormat, tag("json_schema")],
    by(_format_tag),
    one_of("text", "json_object", "json_schema", refused=("grammar", "python")),
]


class TextConfig(Body):
    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Body):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class StreamOptions(Body):
    include_obfuscation: bool | None = None


LOGPROBS = "message.output_text.logprobs"
Includable = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]
"""Only logprobs make a difference: thoughts are always in the answer, unencrypted, and of the
others there are none."""


class PromptBody(Body):
    """What decides the prompt."""

    model: str | None = None
    input: Annotated[
        Annotated[str, tag("text")]
        | Annotated[list[Input], Field(min_length=1, max_length=MAX_MESSAGES), tag("list")],
        by(text_or_list),
        TEXT_OR_LIST,
    ]
    instructions: str | None = None
    previous_response_id: Name | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: (
        Annotated[
            Annotated[ToolMode, tag("mode")] | Annotated[ChosenTools, tag("tool")],
            by(_mode_or_object),
        ]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=64)] | None = None


class CountBody(PromptBody):
    """POST /v1/responses/input_tokens."""


class ResponseBody(PromptBody):
    """POST /v1/responses: OpenAI's fields, then those of SGLang's that are for sampling."""

    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: TopLogprobs | None = None
    include: Annotated[list[Includable], Field(max_length=64)] | None = None
    metadata: Metadata | None = None

    top_k: TopK | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    cache_salt: Annotated[str, Field(max_length=256)] | None = None


IGNORED = protocol.IGNORED | {
    "access_programs",
    "background_options",
    "image",
    "max_tool_calls",
    "prompt_cache_options",
}

UNSUPPORTED: dict[str, list[Any]] = {
    # What other routes have, and would be missed if it were passed over.
    **{name: [] for name in ConstraintFields.model_fields},
    "best_of": [1],
    "choice": [],
    "logit_bias": [],
    "logprobs": [],
    "max_completion_tokens": [],
    "max_tokens": [],
    "messages": [],
    "n": [1],
    "stop_token_ids": [],
    # What OpenAI's has.
    "context_management": [],
    "conversation": [],
    "moderation": [],
    "prompt": [],
}

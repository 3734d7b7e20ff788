"""The bodies of requests. Every number has bounds; `null` means that nothing was said.

What a client may send is one of four: a field here; a name in IGNORED, which changes nothing that
this server could do; a name in UNSUPPORTED, refused unless its value asks for nothing; or unknown,
accepted with a warning in the log.
"""

import dataclasses
from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema

from sgjax.errors import ModelNotFound
from sgjax.front.token_ids import MAX_ID
from sgjax.sampling_params import (
    MAX_LOGIT_BIAS,
    MAX_N,
    MAX_NEW_TOKENS,
    MAX_STOP_CHARS,
    MAX_STOP_TOKEN_IDS,
    MAX_STOPS,
    MAX_TOP_LOGPROBS,
    MIN_REPETITION_PENALTY,
    SamplingParams,
)
from sgjax_server.constraint_bodies import ConstraintFields
from sgjax_server.prompts import InputIds, Message, Prompts
from sgjax_server.strict_body import Body
from sgjax_server.tools.body import ToolChoiceBody, ToolDefinition

MAX_MESSAGES = 8192
MAX_TOOLS = 128

TokenId = Annotated[int, Field(ge=0, le=MAX_ID)]
Tokens = Annotated[int, Field(ge=0, le=MAX_NEW_TOKENS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
LogitBias = Annotated[
    dict[str, Bias],
    Field(max_length=MAX_LOGIT_BIAS),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,9})$"},
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
            "maxProperties": MAX_LOGIT_BIAS,
        }
    ),
]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
"""Kept with an object, and given back."""
RepetitionPenalty = Annotated[float, Field(ge=MIN_REPETITION_PENALTY, le=2)]
TopK = Annotated[
    int,
    Field(ge=-1, le=MAX_ID),
    WithJsonSchema(
        {"anyOf": [{"const": -1}, {"type": "integer", "minimum": 1, "maximum": MAX_ID}]}
    ),
]
TopLogprobs = Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)]


def one_of(*names: str) -> ConfigDict:
    """A body that needs one of these fields; its handler says so."""
    return ConfigDict(json_schema_extra={"anyOf": [{"required": [name]} for name in names]})


class StreamOptions(Body):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingBody(ConstraintFields):
    """What completions and chat have in common: OpenAI's names, then SGLang's and vLLM's."""

    model: str | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    top_k: TopK | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: RepetitionPenalty | None = None
    min_tokens: Tokens | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_STOP_TOKEN_IDS)] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    no_stop_trim: bool | None = None
    rid: Name | None = None
    cache_salt: Annotated[str, Field(max_length=256)] | None = None


class CompletionBody(SamplingBody):
    """POST /v1/completions."""

    prompt: Prompts
    echo: bool | None = None
    logprobs: TopLogprobs | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    add_special_tokens: bool | None = None


class ChatBody(SamplingBody):
    """POST /v1/chat/completions. Messages are checked where they are rendered: sgjax.text."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=64)] | None = None
    tools: Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    separate_reasoning: bool | None = None
    stream_reasoning: bool | None = None


def _native_params() -> dict[str, Any]:
    """The schema of sampling_params: SamplingParams, whose names are not quite OpenAI's."""
    shared = SamplingBody.model_json_schema()["properties"]
    others = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"}
    names = [field.name for field in dataclasses.fields(SamplingParams)]
    properties = {name: shared.get(others.get(name, name), {}) for name in names}
    return {"type": "object", "properties": properties}


NativeParams = Annotated[dict[str, Any], WithJsonSchema(_native_params())]


class GenerateBody(Body):
    """POST /generate: SGLang's own. A scalar holds for all prompts of a batch."""

    model_config = one_of("text", "input_ids")
    text: str | Annotated[list[str], Field(min_length=1)] | None = None
    input_ids: InputIds = None
    sampling_params: NativeParams | list[NativeParams] | None = None
    rid: Name | list[Name] | None = None
    return_logprob: bool | list[bool] | None = None
    logprob_start_len: (
        Annotated[int, Field(ge=-1, le=MAX_ID)]
        | list[Annotated[int, Field(ge=-1, le=MAX_ID)]]
        | None
    ) = None
    top_logprobs_num: TopLogprobs | list[TopLogprobs] | None = None
    return_text_in_logprobs: bool | None = None
    stream: bool | None = None
    cache_salt: Annotated[str, Field(max_length=256)] | None = None
    extra_key: Annotated[str, Field(max_length=256)] | None = None


class AbortBody(Body):
    """POST /abort_request."""

    model_config = one_of("rid", "abort_all")
    rid: Annotated[str, Field(max_length=256)] | None = None
    abort_all: bool | None = None


IGNORED = frozenset(
    {
        "include_reasoning",
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "request_id",
        "return_bytes",
        "safety_identifier",
        "separate_reasoning",
        "service_tier",
        "store",
        "stream_reasoning",
        "user",
        "verbosity",
        # SGLang's
        "background",
        "log_metrics",
        "no_logs",
        "stream_interval",
    }
)

_TEXT_ONLY = [["text"]]
UNSUPPORTED: dict[str, list[Any]] = {
    # name: the values that ask for nothing, besides null, false, "", [] and {}
    "allowed_token_ids": [],
    "audio": [],
    "audio_data": [],
    "bad_words": [],
    "chat_template": [],
    "custom_logit_processor": [],
    "custom_params": [],
    "documents": [],
    "function_call": ["none", "auto"],
    "functions": [],
    "image_data": [],
    "include_stop_str_in_output": [],
    "input_embeds": [],
    "kv_transfer_params": [],
    "length_penalty": [1],
    "logits_processors": [],
    "lora_path": [],
    "mm_processor_kwargs": [],
    "modalities": _TEXT_ONLY,
    "priority": [0],
    "prompt_embeds": [],
    "prompt_logprobs": [],
    "repetition_detection": [],
    "return_hidden_states": [],
    "return_token_ids": [],
    "return_tokens_as_token_ids": [],
    "session_params": [],
    "stop_regex": [],
    "suffix": [],
    "thinking_token_budget": [],
    "token_ids_logprob": [],
    "tool_choice": ["none", "auto"],
    "tools": [],
    "truncate_prompt_tokens": [],
    "use_beam_search": [],
    "video_data": [],
    "vllm_xargs": [],
    "web_search_options": [],
}

DEFAULT_MODEL = "default"


def check_model(asked: str | None, served: str) -> None:
    """Raises ModelNotFound unless the served model is meant: by name, "default", or not at all."""
    if asked not in (None, DEFAULT_MODEL, served):
        raise ModelNotFound(
            f"The model {asked!r} is not served here. Ask for {served!r}, or leave `model` out.",
            param="model",
        )

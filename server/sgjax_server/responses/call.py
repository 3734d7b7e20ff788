"""What a body asks for: the call of a chat, and what the answer repeats of it."""

import dataclasses
from typing import Any

from sgjax.errors import InvalidRequest
from sgjax.sampling_params import SamplingParams
from sgjax_server.chat import ChatCall
from sgjax_server.constraints import read_format
from sgjax_server.errors import Unsupported
from sgjax_server.responses.body import (
    LOGPROBS,
    AllowedTools,
    FunctionTool,
    NamedTool,
    PromptBody,
    ResponseBody,
    SchemaFormat,
)
from sgjax_server.responses.items import Item, messages_of
from sgjax_server.service import Service

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "stop",
)


def check(body: ResponseBody) -> None:
    """Raises InvalidRequest where fields do not go together."""
    if body.background and body.store is False:
        raise InvalidRequest(
            "background needs store: a response that is not stored could never be read. Leave "
            "store out.",
            param="background",
        )
    if body.top_logprobs and LOGPROBS not in (body.include or ()):
        raise InvalidRequest(
            f"top_logprobs needs {LOGPROBS!r} in include, or must be left out.",
            param="top_logprobs",
        )
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest(
            "stream_options is only for streams: set stream to true, or leave it out.",
            param="stream_options",
        )


def params_of(body: ResponseBody, service: Service) -> SamplingParams:
    said = {name: getattr(body, name) for name in _SAMPLING if getattr(body, name) is not None}
    limit = {"max_new_tokens": body.max_output_tokens}
    bound = read_format(response_format(body))
    return SamplingParams.from_dict({**service.default_sampling, **said, **bound, **limit})


def call_of(body: PromptBody, params: SamplingParams, items: list[Item]) -> ChatCall:
    """The chat that is asked for. `items`: all of the conversation so far.

    Raises:
        InvalidRequest: items or tools do not go together.
        Unsupported: the input should be cut where it is too long.
    """
    if body.truncation == "auto":
        raise Unsupported(
            "truncation 'auto' is not served: nothing is left out of an input that is too long. "
            "Leave truncation out, and shorten the input where it does not fit.",
            param="truncation",
        )
    tools, choice = _tools(body)
    effort = None if body.reasoning is None else body.reasoning.effort
    thinking = {"enable_thinking": False, "thinking": False} if effort == "none" else {}
    return ChatCall(
        messages=messages_of(body.instructions, items),
        params=params,
        tools=tools or None,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        template_kwargs={**thinking, **(body.chat_template_kwargs or {})},
        reasoning_effort=effort,
    )


def with_options(call: ChatCall, body: ResponseBody, rid: str) -> ChatCall:
    """The call, with what is wanted besides a prompt and its answer."""
    return dataclasses.replace(
        call,
        rid=rid,
        return_logprob=LOGPROBS in (body.include or ()),
        top_logprobs=body.top_logprobs or 0,
        cache_salt=body.cache_salt or "",
    )


def _tools(body: PromptBody) -> tuple[list[dict[str, Any]], Any]:
    """Tools and tool_choice in the form of chat completions."""
    tools, choice = body.tools or [], body.tool_choice
    match choice:
        case NamedTool():
            return [_chat_tool(tool) for tool in tools], {
                "type": "function",
                "function": {"name": choice.name},
            }
        case AllowedTools():
            names = {tool.name for tool in choice.tools}
            if unknown := names - {tool.name for tool in tools}:
                raise InvalidRequest(
                    f"tool_choice allows {min(unknown)[:80]!r}, which is not one of the tools.",
                    param="tool_choice",
                )
            return [_chat_tool(tool) for tool in tools if tool.name in names], choice.mode
    return [_chat_tool(tool) for tool in tools], choice


def _chat_tool(tool: FunctionTool) -> dict[str, Any]:
    return {
        "type": "function",
        "function": tool.model_dump(
            include={*FunctionTool.model_fields} - {"type"}, exclude_none=True
        ),
    }


def response_format(body: PromptBody) -> dict[str, Any] | None:
    """text.format, as chat completions have it."""
    found = body.text and body.text.format
    if not found:
        return None
    if not isinstance(found, SchemaFormat):
        return {"type": found.type}
    fields = {"name": found.name, "schema": found.schema_, "strict": found.strict}
    return {"type": "json_schema", "json_schema": fields}


def fields_of(body: ResponseBody, params: SamplingParams, model: str) -> dict[str, Any]:
    """What the answer says of the request."""
    reasoning = body.reasoning
    return {
        "background": bool(body.background),
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "model": model,
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": reasoning and reasoning.effort, "summary": None},
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": params.temperature,
        "text": _text(body),
        "tool_choice": _said(body.tool_choice) or "auto",
        "tools": [_tool(tool) for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": params.top_p,
        "truncation": "disabled",
    }


def _text(body: ResponseBody) -> dict[str, Any]:
    found = body.text and body.text.format
    said = found.model_dump(by_alias=True, exclude_none=True) if found else {"type": "text"}
    verbosity = body.text and body.text.verbosity
    return {"format": said, "verbosity": verbosity or "medium"}


def _said(choice: Any) -> Any:
    if isinstance(choice, NamedTool | AllowedTools):
        return choice.model_dump(exclude_none=True)
    return choice


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }

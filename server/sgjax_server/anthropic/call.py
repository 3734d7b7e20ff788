"""What a body asks for, as the call of a chat."""

from typing import Any

from sgjax.errors import InvalidRequest
from sgjax.sampling_params import SamplingParams
from sgjax_server.anthropic.body import (
    BudgetThinking,
    MessagesBody,
    NamedChoice,
    NoChoice,
    PromptBody,
    Tool,
)
from sgjax_server.anthropic.prompt import messages_of
from sgjax_server.chat import ChatCall
from sgjax_server.constraints import read_format
from sgjax_server.service import Service


def call_of(body: PromptBody, params: SamplingParams, rid: str | None) -> ChatCall:
    """The chat that is asked for. A last message of the assistant is gone on with.

    Raises:
        InvalidRequest: fields do not go together.
    """
    messages = messages_of(body.system, body.messages)
    is_prefill = messages[-1]["role"] == "assistant"
    if is_prefill and (messages[-1].get("tool_calls") or not messages[-1]["content"]):
        raise InvalidRequest(
            "The last message is the assistant's, so the answer would go on from it; that needs "
            "text and no tool_use. Add the user's message, with a tool_result for each tool_use.",
            param="messages",
        )
    choice = body.tool_choice
    return ChatCall(
        messages=messages,
        params=params,
        tools=[_tool(tool) for tool in body.tools or ()] or None,
        tool_choice=_choice(body),
        parallel_tool_calls=not getattr(choice, "disable_parallel_tool_use", None),
        template_kwargs=_thinking(body),
        reasoning_effort=body.output_config and body.output_config.effort,
        continue_final_message=is_prefill,
        rid=rid,
    )


def params_of(body: MessagesBody, service: Service) -> SamplingParams:
    """Raises InvalidRequest where the budget leaves nothing for an answer."""
    thinking = body.thinking
    if isinstance(thinking, BudgetThinking) and thinking.budget_tokens >= body.max_tokens:
        raise InvalidRequest(
            f"thinking.budget_tokens ({thinking.budget_tokens}) must be less than max_tokens "
            f"({body.max_tokens}).",
            param="thinking",
        )
    said = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": -1 if body.top_k == 0 else body.top_k,
        "stop": body.stop_sequences,
    }
    given = {name: value for name, value in said.items() if value is not None}
    given |= read_format(response_format(body))
    return SamplingParams.from_dict(
        {**service.default_sampling, **given, "max_new_tokens": body.max_tokens}
    )


def response_format(body: PromptBody) -> dict[str, Any] | None:
    """output_config.format, as chat completions have it."""
    found = body.output_config and body.output_config.format
    if not found:
        return None
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": found.schema_}}


def shows_thoughts(body: PromptBody) -> bool:
    """Whether thoughts are wanted in the answer: they are unless they were declined."""
    thinking = body.thinking
    return not (thinking and (thinking.type == "disabled" or thinking.display == "omitted"))


def _thinking(body: PromptBody) -> dict[str, Any]:
    """For templates; without a word of it, a template decides by itself."""
    if body.thinking is None:
        return {}
    return dict.fromkeys(("enable_thinking", "thinking"), body.thinking.type != "disabled")


def _tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema,
        "strict": tool.strict,
    }
    said = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": said}


def _choice(body: PromptBody) -> Any:
    match body.tool_choice:
        case None:
            return None
        case NamedChoice(name=name):
            return {"type": "function", "function": {"name": name}}
        case NoChoice():
            return "none"
        case other:
            return "required" if other.type == "any" else "auto"

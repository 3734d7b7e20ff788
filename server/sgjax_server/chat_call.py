"""What is asked of a chat, in no client's form, and what is checked of it at once."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidRequest
from sgjax.sampling_params import SamplingParams
from sgjax_server.prompts import ROLES


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatCall:
    """What is asked of a chat. Messages, tools and tool_choice have the form that they have in
    OpenAI's chat completions: it is what templates are written for."""

    messages: Sequence[dict[str, Any]]
    params: SamplingParams
    """Its constraint, if it has one, holds for the answer: not for thoughts, not for calls."""
    tools: Sequence[Any] | None = None
    tool_choice: Any = None
    """"none", "auto", "required" or {"type": "function", "function": {"name": ...}}."""
    parallel_tool_calls: bool = True
    template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reasoning_effort: str | None = None
    """For templates that read it."""
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    separate_reasoning: bool = True
    """Whether thoughts come as Reasoning; else they stay in the content."""
    stream_reasoning: bool = True
    """Whether Reasoning comes as it grows; else in one event."""
    rid: str | None = None
    return_logprob: bool = False
    top_logprobs: int = 0
    cache_salt: str = ""


def messages_of(call: ChatCall) -> list[dict[str, Any]]:
    """Its messages, as templates take them. Raises InvalidRequest for an unknown role."""
    return [_message(message, index) for index, message in enumerate(call.messages)]


def _message(message: dict[str, Any], index: int) -> dict[str, Any]:
    """Templates know no developer: the role is the newer name of system."""
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequest(
            f"messages[{index}].role must be one of {', '.join(ROLES)}, not {role!r}.",
            param=f"messages[{index}].role",
        )
    return message | {"role": "system"} if role == "developer" else message


def check_kwargs(kwargs: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for what is not the template's."""
    for name in ("messages", "tools", "add_generation_prompt", "continue_final_message"):
        if name in kwargs:
            raise InvalidRequest(
                f"chat_template_kwargs must not have {name!r}: it is a field of the request.",
                param="chat_template_kwargs",
            )

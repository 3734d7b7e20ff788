"""What both of OpenAI's APIs, of chats and of completions, have in common."""

import dataclasses
from collections.abc import Collection
from typing import Any

from sgjax.errors import ProgramFailed
from sgjax.lang.backends.api_params import parameters
from sgjax.lang.backends.contract import Call

_NAMES = {
    name: name for name in ("stop", "temperature", "top_p", "frequency_penalty", "presence_penalty")
}
_SERVERS = ("regex", "ebnf", "top_k", "min_p", "ignore_eos", "stop_token_ids")
"""Of sgjax and SGLang, beyond OpenAI's."""
_ALWAYS = frozenset({"max_new_tokens", "temperature", "top_p"})
"""A server may have others of its own for a model."""


@dataclasses.dataclass
class TokenUsage:
    """Tokens of all calls so far, as the API counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def reset(self) -> None:
        self.prompt_tokens = self.completion_tokens = 0

    def add(self, usage: Any) -> None:
        """Of an answer; None if the server does not tell."""
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens or 0
            self.completion_tokens += usage.completion_tokens or 0


def request_fields(
    call: Call, *, limit: str, is_server: bool, also: Collection[str] = ()
) -> dict[str, Any]:
    """Arguments of the client. `limit`: what max_new_tokens is called.

    Raises:
        InvalidProgram: the API lacks a parameter.
    """
    extra = {name: name for name in (*_SERVERS, *also)} if is_server else {}
    names = {**_NAMES, **extra, "max_new_tokens": limit}
    fields = parameters(call, names, api="OpenAI's API", always=_ALWAYS)
    body = {name: fields.pop(name) for name in extra if name in fields}
    return {**fields, "extra_body": body} if body else fields


def meta_info(answer: Any, reason: str | None, usage: Any = None) -> dict[str, Any]:
    """In the words of sgjax's own API. Raises ProgramFailed for an answer that was held back."""
    if reason == "content_filter":
        raise ProgramFailed("The answer was cut off by the API's filter of contents.")
    found: dict[str, Any] = {
        "id": answer.id,
        "finish_reason": None if reason is None else {"type": reason},
    }
    if usage is not None:
        found["prompt_tokens"] = usage.prompt_tokens
        found["completion_tokens"] = usage.completion_tokens
    return found

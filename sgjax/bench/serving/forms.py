"""The three forms in which servers are asked: OpenAI's chat and completions, and /generate.

A form makes bodies, goes on with a conversation, and reads the events of a stream. It is called for
every token of every stream, so it looks at no more of an event than it must.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import orjson

from sgjax.bench.serving.datasets import Content, Turn
from sgjax.bench.serving.outcome import Outcome
from sgjax.errors import ConfigError

Api = Literal["chat", "completions", "generate"]

SCHEMA_NAME = "answer"


class Form(Protocol):
    """How one kind of server is spoken with."""

    path: str
    takes_ids: bool

    def body(
        self, content: Content, max_tokens: int, settings: Mapping[str, Any], schema: Any = None
    ) -> dict[str, Any]:
        """A streamed request. `settings` are sampling parameters by OpenAI's names.

        Raises:
            ConfigError: this form cannot say such a content.
        """
        ...

    def after(self, content: Content, answer: Any, turn: Turn) -> Content:
        """The conversation so far, once `content` was answered and `turn` is said."""
        ...

    def read(self, payload: bytes, now: float, outcome: Outcome) -> None:
        """Takes one event's data."""
        ...

    def finish(self, outcome: Outcome) -> None:
        """Once the stream has ended: what only its last event says."""
        ...


class Chat:
    """POST /v1/chat/completions."""

    path = "/v1/chat/completions"
    takes_ids = False

    def body(
        self, content: Content, max_tokens: int, settings: Mapping[str, Any], schema: Any = None
    ) -> dict[str, Any]:
        asked = {"messages": _messages(content), "max_tokens": max_tokens}
        return {**_openai_stream(settings, schema), **asked}

    def after(self, content: Content, answer: Any, turn: Turn) -> Content:
        said = {"role": "assistant", "content": "".join(answer)}
        return [*_messages(content), said, *_messages(turn.content)]

    def read(self, payload: bytes, now: float, outcome: Outcome) -> None:
        event = orjson.loads(payload)
        _read_openai(event, outcome)
        for choice in event.get("choices", ()):
            delta = choice["delta"]
            text = delta.get("content") or delta.get("reasoning_content")
            if text:
                outcome.add_event(now)
                outcome.answer.append(text)

    def finish(self, outcome: Outcome) -> None:
        pass


class Completions:
    """POST /v1/completions."""

    path = "/v1/completions"
    takes_ids = True

    def body(
        self, content: Content, max_tokens: int, settings: Mapping[str, Any], schema: Any = None
    ) -> dict[str, Any]:
        if _is_messages(content):
            raise ConfigError("Messages are for --api chat; a completion goes on from a prompt.")
        return {**_openai_stream(settings, schema), "prompt": content, "max_tokens": max_tokens}

    def after(self, content: Content, answer: Any, turn: Turn) -> Content:
        return f"{content}{''.join(answer)}\n{turn.content}"

    def read(self, payload: bytes, now: float, outcome: Outcome) -> None:
        event = orjson.loads(payload)
        _read_openai(event, outcome)
        for choice in event.get("choices", ()):
            text = choice["text"]
            # A token may have no text yet; an event that only says the end has none either.
            if text or choice.get("finish_reason") is None:
                outcome.add_event(now)
                outcome.answer.append(text)

    def finish(self, outcome: Outcome) -> None:
        pass


class Generate:
    """POST /generate, in SGLang's form. Events are cumulative, and most are only counted."""

    path = "/generate"
    takes_ids = True

    _COUNT = re.compile(rb'"completion_tokens":\s*(\d+)')

    def body(
        self, content: Content, max_tokens: int, settings: Mapping[str, Any], schema: Any = None
    ) -> dict[str, Any]:
        if _is_messages(content):
            raise ConfigError("Messages are for --api chat; /generate goes on from a prompt.")
        names = {"model": None, "seed": "sampling_seed"}
        params = {names.get(key, key): value for key, value in settings.items()}
        params.pop(None, None)
        params["max_new_tokens"] = max_tokens
        if schema is not None:
            params["json_schema"] = orjson.dumps(schema).decode()
        name = "text" if isinstance(content, str) else "input_ids"
        return {name: content, "sampling_params": params, "stream": True}

    def after(self, content: Content, answer: Any, turn: Turn) -> Content:
        if isinstance(content, str):
            return f"{content}{answer['text']}\n{turn.content}"
        ids: Any = turn.content
        return [*content, *answer["output_ids"], *ids]  # type: ignore[return-value]

    def read(self, payload: bytes, now: float, outcome: Outcome) -> None:
        found = self._COUNT.search(payload)
        if found is None:
            outcome.fail(_error_of(orjson.loads(payload)))
            return
        outcome.add_event(now, int(found[1]))
        outcome.last = payload

    def finish(self, outcome: Outcome) -> None:
        if outcome.last is None:
            return
        outcome.answer = orjson.loads(outcome.last)
        meta = outcome.answer["meta_info"]
        outcome.num_prompt = meta.get("prompt_tokens")
        outcome.num_cached = meta.get("cached_tokens")
        reason = meta.get("finish_reason") or {}
        if reason.get("type") == "abort":
            outcome.fail(f"aborted: {reason.get('message')}")


FORMS: dict[Api, Form] = {"chat": Chat(), "completions": Completions(), "generate": Generate()}


def _openai_stream(settings: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    body = {**settings, "stream": True, "stream_options": {"include_usage": True}}
    if schema is not None:
        named = {"name": SCHEMA_NAME, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


def _read_openai(event: dict[str, Any], outcome: Outcome) -> None:
    """Usage and errors, which chat and completions have in common."""
    if "error" in event:
        outcome.fail(_error_of(event))
    if usage := event.get("usage"):
        outcome.num_prompt = usage.get("prompt_tokens")
        outcome.num_output = usage.get("completion_tokens")
        details = usage.get("prompt_tokens_details") or {}
        outcome.num_cached = details.get("cached_tokens")


def _messages(content: Content) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    if not _is_messages(content):
        raise ConfigError("Token ids are for --api completions or generate: a chat takes text.")
    return content  # type: ignore[return-value]


def _is_messages(content: Content) -> bool:
    return not isinstance(content, str) and bool(content) and isinstance(content[0], dict)


def _error_of(event: Any) -> str:
    error = event.get("error", event) if isinstance(event, dict) else event
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]

"""Programs on Google's API of Gemini."""

import base64
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sgjax.errors import ConfigError, ProgramFailed
from sgjax.lang.backends.api import ApiBackend, OwnLoop, import_client
from sgjax.lang.backends.api_messages import (
    Message,
    chat_or_text_of,
    parts_of,
    split_system,
    without_beginning,
)
from sgjax.lang.backends.api_params import parameters
from sgjax.lang.backends.api_values import Shape, shape_of
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.chat_template import get_chat_template
from sgjax.lang.transcript import Transcript

_NAMES = {
    "max_new_tokens": "max_output_tokens",
    "stop": "stop_sequences",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_ALWAYS = frozenset({"temperature", "top_p"})
"""Models have defaults of their own for these."""
_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
_ROLES = {"assistant": "model"}


class VertexAI(ApiBackend):
    """A Gemini, on Vertex AI or on the Gemini API.

    A json_schema or a dtype is a response schema; a dtype's value stands in an object of which it
    alone is kept. A program without messages is one message of the user's. There is no select, and
    no going on from an assistant's message that has begun.
    """

    api = "VertexAI"

    def __init__(
        self,
        model_name: str,
        safety_settings: Mapping[Any, Any] | Sequence[Any] | None = None,
        **kwargs: Any,
    ):
        """
        Args:
            safety_settings: thresholds by category, or a list of google.genai's.
            kwargs: of google.genai.Client. By default it is Vertex AI in the project and location
                of the environment's GCP_PROJECT_ID and GCP_LOCATION; with an api_key alone it is
                the Gemini API.

        Raises:
            ConfigError: the package google-genai is not installed, or its client does not start.
        """
        genai = import_client("google.genai")
        try:
            self._client = genai.Client(**_options(kwargs))
        except (ValueError, import_client("google.auth.exceptions").GoogleAuthError) as error:
            raise ConfigError(f"Google's client does not start: {error}") from error
        self._types = genai.types
        self.model_name = model_name
        self._safety = _settings(safety_settings)
        self._template = get_chat_template("default")
        self._own = OwnLoop("sgjax-vertexai")

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        fields, shape = self._fields(transcript, call)
        found = await self._client.aio.models.generate_content(**fields)
        answer = _answer(found, _text(found))
        return answer if shape is None else shape.read(answer)

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        """A dtype's value comes at once, when it is there."""
        if call.dtype is not None:
            yield await self.generate(transcript, call)
            return
        fields, _ = self._fields(transcript, call)
        text = ""
        async for chunk in await self._client.aio.models.generate_content_stream(**fields):
            text += _text(chunk)
            yield _answer(chunk, text)

    async def _close(self) -> None:
        await self._client.aio.aclose()
        self._client.close()

    def _fields(self, transcript: Transcript, call: Call) -> tuple[dict[str, Any], Shape | None]:
        """Arguments of the client, and how to read the answer."""
        messages = without_beginning(chat_or_text_of(transcript, self.api), self.api)
        system, messages = split_system(messages, self.api)
        shape, rest = shape_of(call)
        config = parameters(rest, _NAMES, api=self.api, always=_ALWAYS)
        if shape is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = shape.schema
        if system:
            config["system_instruction"] = system
        if self._safety:
            config["safety_settings"] = self._safety
        return {
            "model": self.model_name,
            "contents": [self._content(message) for message in messages],
            "config": self._types.GenerateContentConfig(**config),
        }, shape

    def _content(self, message: Message) -> Any:
        part = self._types.Part
        parts = [
            part.from_text(text=each["text"])
            if "text" in each
            else part.from_bytes(data=base64.b64decode(each["data"]), mime_type=each["kind"])
            for each in parts_of(message)
        ]
        role = _ROLES.get(message["role"], message["role"])
        return self._types.Content(role=role, parts=parts)


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    if "api_key" in given or "vertexai" in given:
        return dict(given)
    names = {"project": "GCP_PROJECT_ID", "location": "GCP_LOCATION"}
    said = {name: os.environ[key] for name, key in names.items() if key in os.environ}
    return {"vertexai": True, **said, **given}


def _settings(given: Any) -> list[Any]:
    if not isinstance(given, Mapping):
        return list(given or ())
    return [{"category": category, "threshold": level} for category, level in given.items()]


def _text(found: Any) -> str:
    """Without the model's thoughts. Raises ProgramFailed where there is no answer at all."""
    feedback = getattr(found.prompt_feedback, "block_reason", None)
    if feedback:
        raise ProgramFailed(f"The prompt was blocked: {feedback.name}.")
    if not found.candidates:
        return ""
    reason = found.candidates[0].finish_reason
    content = found.candidates[0].content
    parts = (content.parts if content else None) or []
    text = "".join(part.text or "" for part in parts if not part.thought)
    if reason is not None and reason.name not in _REASONS:
        raise ProgramFailed(f"The model's answer was ended: {reason.name}. It began {text!r:.200}.")
    return text


def _answer(found: Any, text: str) -> Answer:
    """In the words of sgjax's own API."""
    reason = found.candidates[0].finish_reason if found.candidates else None
    finish = None if reason is None else {"type": _REASONS[reason.name]}
    told: dict[str, Any] = {"id": found.response_id, "finish_reason": finish}
    if (usage := found.usage_metadata) is not None:
        told["prompt_tokens"] = usage.prompt_token_count
        told["completion_tokens"] = usage.candidates_token_count
    return Answer(text, told)

"""Programs on whatever API litellm speaks."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sgjax.lang.backends.api import ApiBackend, OwnLoop, import_client
from sgjax.lang.backends.api_messages import chat_or_text_of, without_beginning
from sgjax.lang.backends.api_params import parameters
from sgjax.lang.backends.api_values import Shape, shape_of
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.backends.openai_form import meta_info
from sgjax.lang.chat_template import ChatTemplate, get_chat_template_by_model_path
from sgjax.lang.transcript import Transcript

_NAMES = {
    "max_new_tokens": "max_tokens",
    **{
        name: name
        for name in (
            "stop",
            "temperature",
            "top_p",
            "top_k",
            "frequency_penalty",
            "presence_penalty",
        )
    },
}
_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


class LiteLLM(ApiBackend):
    """A model by litellm's name for it, such as "anthropic/claude-opus-4" or "openai/demo".

    Parameters are sent only if the program changes them; litellm refuses those that a model's API
    lacks. A json_schema or a dtype is a response_format; a dtype's value stands in an object of
    which it alone is kept. A program without messages is one message of the user's. There is no
    select, and no going on from an assistant's message that has begun.
    """

    api = "LiteLLM"

    def __init__(
        self,
        model_name: str,
        chat_template: ChatTemplate | None = None,
        api_key: str | None = None,
        organization: str | None = None,
        base_url: str | None = None,
        timeout: float | None = 600,
        max_retries: int | None = None,
        default_headers: Mapping[str, str] | None = None,
    ):
        """`timeout`: seconds; `max_retries`: by default litellm.num_retries.

        Raises:
            ConfigError: the package litellm is not installed.
        """
        self._litellm = import_client("litellm")
        self._litellm.suppress_debug_info = True  # it would print advice at each error
        options = {
            "api_key": api_key,
            "organization": organization,
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": self._litellm.num_retries if max_retries is None else max_retries,
            "extra_headers": None if default_headers is None else dict(default_headers),
        }
        self._options = {name: value for name, value in options.items() if value is not None}
        self.model_name = model_name
        self._template = chat_template or get_chat_template_by_model_path(model_name)
        self._own = OwnLoop("sgjax-litellm")

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        fields, shape = self._fields(transcript, call)
        found = await self._litellm.acompletion(**fields)
        choice = found.choices[0]
        told = meta_info(found, choice.finish_reason, getattr(found, "usage", None))
        answer = Answer(choice.message.content or "", told)
        return answer if shape is None else shape.read(answer)

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        """A dtype's value comes at once, when it is there."""
        if call.dtype is not None:
            yield await self.generate(transcript, call)
            return
        fields, _ = self._fields(transcript, call)
        text, reason, usage = "", None, None
        async for chunk in await self._litellm.acompletion(**fields, **_STREAMED):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reason = choice.finish_reason or reason
            usage = getattr(chunk, "usage", None) or usage
            yield Answer(text, meta_info(chunk, reason, usage))

    async def _close(self) -> None:
        """Closes the clients that litellm keeps for this loop: by its id, which another loop may
        have later."""
        kept = self._litellm.in_memory_llm_clients_cache.cache_dict
        suffix = f"-{id(asyncio.get_running_loop())}"
        for key in [key for key in kept if key.endswith(suffix)]:
            await kept.pop(key).close()

    def _fields(self, transcript: Transcript, call: Call) -> tuple[dict[str, Any], Shape | None]:
        """Arguments of the client, and how to read the answer."""
        messages = without_beginning(chat_or_text_of(transcript, self.api), self.api)
        shape, rest = shape_of(call)
        fields = parameters(rest, _NAMES, api=self.api)
        if shape is not None:
            schema = {"name": shape.key or "answer", "schema": shape.schema, "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {"model": self.model_name, "messages": messages, **self._options, **fields}, shape

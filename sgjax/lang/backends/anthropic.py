"""Programs on Anthropic's API of messages."""

from collections.abc import AsyncIterator
from typing import Any

from sgjax.errors import ConfigError, ProgramFailed
from sgjax.lang.backends.api import ApiBackend, OwnLoop, import_client
from sgjax.lang.backends.api_messages import Message, chat_or_text_of, parts_of, split_system
from sgjax.lang.backends.api_params import parameters
from sgjax.lang.backends.api_values import Shape, shape_of
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.chat_template import get_chat_template
from sgjax.lang.transcript import Transcript

_NAMES = {
    "max_new_tokens": "max_tokens",
    "stop": "stop_sequences",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}
_BODY = ("temperature", "top_p", "top_k")
"""What newer models do not take, so that the client has no arguments for it."""
_REASONS = {"max_tokens": "length", "model_context_window_exceeded": "length"}


class Anthropic(ApiBackend):
    """A model behind Anthropic's API.

    An assistant's message that has begun is gone on with, by models that allow it. A json_schema
    or a dtype is an output format; a dtype's value stands in an object of which it alone is kept.
    temperature, top_p and top_k are sent only if the program changes them. A program without
    messages is one message of the user's. There is no select.
    """

    api = "Anthropic"

    def __init__(self, model_name: str, *args: Any, **kwargs: Any):
        """`args`, `kwargs`: of anthropic.AsyncAnthropic: api_key, base_url, max_retries ...

        Raises:
            ConfigError: the package anthropic is not installed, or its client does not start.
        """
        client = import_client("anthropic")
        try:
            self._client = client.AsyncAnthropic(*args, **kwargs)
        except client.AnthropicError as error:
            raise ConfigError(f"Anthropic's client does not start: {error}") from error
        self.model_name = model_name
        self._template = get_chat_template("claude")
        self._own = OwnLoop("sgjax-anthropic")

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        fields, shape = self._fields(transcript, call)
        message = await self._client.messages.create(**fields)
        text = "".join(block.text for block in message.content if block.type == "text")
        answer = Answer(text, _meta_info(message.id, message.stop_reason, message.usage))
        return answer if shape is None else shape.read(answer)

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        """A dtype's value comes at once, when it is there."""
        if call.dtype is not None:
            yield await self.generate(transcript, call)
            return
        fields, _ = self._fields(transcript, call)
        async with self._client.messages.stream(**fields) as events:
            text = ""
            async for event in events:
                if event.type == "text":
                    text += event.text
                    yield Answer(text, _meta_info(events.current_message_snapshot.id, None))
            last = await events.get_final_message()
        yield Answer(text, _meta_info(last.id, last.stop_reason, last.usage))

    async def _close(self) -> None:
        await self._client.close()

    def _fields(self, transcript: Transcript, call: Call) -> tuple[dict[str, Any], Shape | None]:
        """Arguments of the client, and how to read the answer."""
        chat = chat_or_text_of(transcript, self.api)
        system, messages = split_system(chat.messages, self.api)
        if chat.begun:
            messages.append({"role": "assistant", "content": chat.begun})
        shape, rest = shape_of(call)
        fields = parameters(rest, _NAMES, api=self.api)
        body: dict[str, Any] = {name: fields.pop(name) for name in _BODY if name in fields}
        if shape is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": shape.schema}}
        if system:
            fields["system"] = system
        if body:
            fields["extra_body"] = body
        fields["messages"] = [_message(message) for message in messages]
        return {"model": self.model_name, **fields}, shape


def _message(message: Message) -> Message:
    if isinstance(message["content"], str):
        return message
    return {"role": message["role"], "content": [_block(part) for part in parts_of(message)]}


def _block(part: Any) -> dict[str, Any]:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    source = {"type": "base64", "media_type": part["kind"], "data": part["data"]}
    return {"type": "image", "source": source}


def _meta_info(id: str, reason: str | None, usage: Any = None) -> dict[str, Any]:
    """In the words of sgjax's own API. Raises ProgramFailed where the model refused."""
    if reason == "refusal":
        raise ProgramFailed("The model refused to answer.")
    finish = None if reason is None else {"type": _REASONS.get(reason, "stop")}
    found: dict[str, Any] = {"id": id, "finish_reason": finish}
    if usage is not None:
        found["prompt_tokens"] = usage.input_tokens
        found["completion_tokens"] = usage.output_tokens
    return found

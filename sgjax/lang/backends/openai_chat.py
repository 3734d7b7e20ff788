"""OpenAI's API of chats."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sgjax.errors import InvalidProgram, ProgramFailed
from sgjax.lang.backends.api_messages import Message, chat_of, without_beginning
from sgjax.lang.backends.api_values import Shape, check_dtype, one_value, shape_of
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.backends.openai_form import TokenUsage, meta_info, request_fields
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod, TokenLengthNormalized
from sgjax.lang.transcript import Transcript

_GO_ON = {"add_generation_prompt": False, "continue_final_message": True}
_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


class ChatModel:
    """A model that answers messages."""

    def __init__(self, client: Any, name: str, usage: TokenUsage, *, is_server: bool):
        self._client = client
        self._name = name
        self._usage = usage
        self._is_server = is_server

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        fields, shape = self._fields(call)
        answer = await self._ask(self._messages(transcript, fields), fields)
        if shape is not None:
            return shape.read(answer)
        check_dtype(answer, call.dtype)
        return answer

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        """A value out of an object comes at once, when it is there."""
        if call.dtype is not None:
            yield await self.generate(transcript, call)
            return
        fields, _ = self._fields(call)
        messages = self._messages(transcript, fields)
        text, reason, usage = "", None, None
        async with await self._client.chat.completions.create(
            model=self._name, messages=messages, **_STREAMED, **fields
        ) as chunks:
            async for chunk in chunks:
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    reason = choice.finish_reason or reason
                usage = chunk.usage or usage
                yield Answer(text, meta_info(chunk, reason, usage))
        self._usage.add(usage)

    async def select(
        self, transcript: Transcript, choices: Sequence[str], method: ChoicesMethod
    ) -> ChoicesDecision:
        if not isinstance(method, TokenLengthNormalized):
            raise InvalidProgram(
                "A chat model chooses by itself: there are no logprobs that a choices_method could "
                "compare. Leave it out."
            )
        shape = Shape(one_value("choice", {"type": "string", "enum": list(choices)}), "choice")
        fields = self._request(Call({"temperature": 0.0})) | self._format(shape)
        answer = await self._ask(self._messages(transcript, fields), fields)
        found = shape.read(answer)
        if found.text not in choices:
            raise ProgramFailed(
                f"The model answered {found.text!r:.200}, which is none of the choices: this "
                "server does not know response_format."
            )
        return ChoicesDecision(found.text, dict(found.meta_info))

    async def ask_whole(self, transcript: Transcript, call: Call) -> Answer:
        """What an assistant's message says, from where it is on."""
        fields = self._request(call)
        return await self._ask(self._messages(transcript, fields), fields)

    async def _ask(self, messages: list[Message], fields: dict[str, Any]) -> Answer:
        answer = await self._client.chat.completions.create(
            model=self._name, messages=messages, **fields
        )
        self._usage.add(answer.usage)
        choice = answer.choices[0]
        if choice.message.content is None and choice.message.refusal:
            raise ProgramFailed(f"The model refused: {choice.message.refusal}")
        told = meta_info(answer, choice.finish_reason, answer.usage)
        return Answer(choice.message.content or "", told)

    def _messages(self, transcript: Transcript, fields: dict[str, Any]) -> list[Message]:
        """All of them; `fields` learn whether the last is to be gone on with."""
        chat = chat_of(transcript, "OpenAI's API")
        if not self._is_server:
            return without_beginning(chat, "OpenAI")
        if not chat.begun:
            return chat.messages
        fields["extra_body"] = {**fields.get("extra_body", {}), **_GO_ON}
        return transcript.open_messages()

    def _fields(self, call: Call) -> tuple[dict[str, Any], Shape | None]:
        """Arguments of the client, and how to read the answer."""
        if self._is_server and call.dtype is not None:
            return self._request(call), None
        shape, rest = shape_of(call)
        fields = self._request(rest)
        return (fields, None) if shape is None else (fields | self._format(shape), shape)

    def _request(self, call: Call) -> dict[str, Any]:
        limit = "max_tokens" if self._is_server else "max_completion_tokens"
        return request_fields(call, limit=limit, is_server=self._is_server)

    def _format(self, shape: Shape) -> dict[str, Any]:
        """Strictly at OpenAI, where it is a guess otherwise; servers bind by it anyway."""
        schema = {"name": shape.key or "answer", "schema": shape.schema}
        if not self._is_server:
            schema["strict"] = True
        return {"response_format": {"type": "json_schema", "json_schema": schema}}

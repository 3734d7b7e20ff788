"""POST /v1/chat/completions."""

import time
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from sgjax.errors import InvalidRequest
from sgjax.front.piece import Piece
from sgjax_server.answers.form import GENERATES, events
from sgjax_server.answers.openai import ChatCompletion, ChatCompletionChunk
from sgjax_server.body import StrictRoute
from sgjax_server.chat import Chat, ChatCall, ChatGeneration
from sgjax_server.chat_events import (
    Call,
    CallArguments,
    CallBegin,
    ChatMessage,
    Content,
    End,
    Event,
    Reasoning,
)
from sgjax_server.errors import Json
from sgjax_server.event_template import EventTemplate
from sgjax_server.openai_form import (
    chat_logprobs,
    check_stream_options,
    finish_fields,
    new_id,
    read_params,
)
from sgjax_server.protocol import ChatBody, check_model
from sgjax_server.service import Service, ServiceOf
from sgjax_server.sse import DONE, EventStream, event, unless_gone

router = APIRouter(route_class=StrictRoute)


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses=GENERATES | events(ChatCompletionChunk),
)
async def chat_completions(body: ChatBody, request: Request, service: ServiceOf) -> Response:
    """The next message of a chat, `n` times."""
    service.check_open()
    check_model(body.model, service.model_name)
    service.check_extras(body)
    check_stream_options(body)
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest(
            "top_logprobs needs logprobs: set it to true, or leave top_logprobs out.",
            param="top_logprobs",
        )
    form = _Form(body, service)
    chat = Chat(_call(body, form.id, service), service)
    if body.stream:
        generation = await chat.start(is_streamed=True)
        return EventStream(generation, form.events(generation))
    return await unless_gone(request, form.respond(chat))


def _call(body: ChatBody, rid: str, service: Service) -> ChatCall:
    limit = body.max_completion_tokens
    max_tokens = body.max_tokens if limit is None else limit
    return ChatCall(
        messages=body.messages,
        params=read_params(body, service.default_sampling, max_tokens),
        tools=body.tools,
        tool_choice=body.tool_choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        template_kwargs=body.chat_template_kwargs or {},
        reasoning_effort=body.reasoning_effort,
        separate_reasoning=body.separate_reasoning is not False,
        stream_reasoning=body.stream_reasoning is not False,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=bool(body.continue_final_message),
        rid=rid,
        return_logprob=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        cache_salt=body.cache_salt or "",
    )


class _Form:
    """One call's answer, in OpenAI's form."""

    def __init__(self, body: ChatBody, service: Service):
        self.id = new_id(body, "chatcmpl")
        self._options = body.stream_options
        self._tokenizer = service.needs_tokenizer()
        self._head = {
            "id": self.id,
            "object": "chat.completion.chunk" if body.stream else "chat.completion",
            "created": int(time.time()),
            "model": service.model_name,
        }

    async def respond(self, chat: Chat) -> Response:
        generation = await chat.start(is_streamed=False)
        messages = await generation.messages()
        choices = [self._choice(index, message) for index, message in enumerate(messages)]
        return Json({**self._head, "choices": choices, "usage": generation.usage.to_dict()})

    async def events(self, generation: ChatGeneration) -> AsyncGenerator[bytes, None]:
        options, usage, readers = self._options, generation.usage, generation.readers
        has_usage = bool(options and options.include_usage)
        is_running = bool(has_usage and options and options.continuous_usage_stats)

        def chunk(index: int, delta: dict[str, Any], **rest: Any) -> dict[str, Any]:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
            out = {**self._head, "choices": [choice | rest]}
            if has_usage:
                out["usage"] = usage.to_dict() if is_running else None
            return out

        def content(index: int) -> EventTemplate:
            return EventTemplate(lambda text: chunk(index, {"content": text}))

        def chunks(index: int, piece: Piece) -> bytes:
            usage.add(index, piece)
            if not is_running and readers[index].is_plain(piece):
                return contents[index].fill(orjson.dumps(piece.text)) if piece.text else b""
            events = readers[index].read(piece)
            return b"".join([event(chunk(index, _delta(e), **self._rest(e))) for e in events])

        contents = [content(index) for index in range(generation.num_samples)]
        for index in range(generation.num_samples):
            yield event(chunk(index, {"role": "assistant", "content": ""}))
        async for pieces in generation.pieces:
            if out := b"".join([chunks(index, piece) for index, piece in pieces]):
                yield out
        if has_usage:
            yield event({**self._head, "choices": [], "usage": usage.to_dict()})
        yield DONE

    def _rest(self, news: Event) -> dict[str, Any]:
        """What stands beside the delta."""
        match news:
            case Content(_, logprobs) if logprobs is not None:
                return {"logprobs": chat_logprobs(logprobs, self._tokenizer)}
            case End():
                return finish_fields(news.finish) | {"finish_reason": news.reason}
        return {}

    def _choice(self, index: int, message: ChatMessage) -> dict[str, Any]:
        assert message.end is not None
        return {
            "index": index,
            "message": _message(message),
            "logprobs": chat_logprobs(message.logprobs, self._tokenizer),
            **finish_fields(message.end.finish),
            "finish_reason": message.end.reason,
        }


def _delta(news: Event) -> dict[str, Any]:
    match news:
        case Content(text):
            return {"content": text}
        case Reasoning(text):
            return {"reasoning_content": text}
        case CallBegin(index, call_id, name):
            return {"tool_calls": [{"index": index, **_call_fields(Call(call_id, name))}]}
        case CallArguments(index, fragment):
            return {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}
        case End():
            return {}


def _message(message: ChatMessage) -> dict[str, Any]:
    """A message that only calls has no content."""
    is_silent = bool(message.calls and not message.content)
    out: dict[str, Any] = {"role": "assistant", "content": None if is_silent else message.content}
    if message.reasoning:
        out["reasoning_content"] = message.reasoning
    if message.calls:
        out["tool_calls"] = [_call_fields(call) for call in message.calls]
    return out


def _call_fields(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}

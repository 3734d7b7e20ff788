"""POST /v1/chat/completions."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from sgjax.errors import InvalidRequest
from sgjax.front.generator import LONG_TEXT, Generation
from sgjax.front.piece import Piece
from sgjax.front.request import GenerationRequest
from sgjax.text import ChatTemplate
from sgjax_server.body import StrictRoute
from sgjax_server.errors import Json
from sgjax_server.event_template import EventTemplate
from sgjax_server.openai_form import (
    Usage,
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

ROLES = ("system", "developer", "user", "assistant", "tool")


@router.post("/v1/chat/completions")
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
    service.generator.check_room(body.n or 1)
    form = _Form(body, service)
    if body.stream:
        generation = await service.start([await form.request()], is_streamed=True)
        return EventStream(generation, form.events(generation))
    return await unless_gone(request, form.respond())


class _Form:
    """One call: the request it makes, and what its pieces look like."""

    def __init__(self, body: ChatBody, service: Service):
        self._body = body
        self._service = service
        self._tokenizer = service.needs_tokenizer()
        limit = body.max_completion_tokens
        self._max_tokens = body.max_tokens if limit is None else limit
        self._params = read_params(body, service.default_sampling, self._max_tokens)
        self._head = {
            "id": new_id(body, "chatcmpl"),
            "object": "chat.completion.chunk" if body.stream else "chat.completion",
            "created": int(time.time()),
            "model": service.model_name,
        }

    async def request(self) -> GenerationRequest:
        body = self._body
        return GenerationRequest(
            prompt=await _render(body, self._service.chat_template),
            params=self._params,
            rid=self._head["id"],
            return_logprob=bool(body.logprobs),
            top_logprobs=body.top_logprobs or 0,
            cache_salt=body.cache_salt or "",
            add_special_tokens=False,
        )

    async def respond(self) -> Response:
        generation = await self._service.start([await self.request()])
        usage = self._usage(generation)
        wholes = [Piece("", []) for _ in generation.samples]
        async with aclosing(generation):
            async for pieces in generation:
                for index, piece in pieces:
                    usage.add(index, piece)
                    wholes[index].extend(piece)
        choices = [self._choice(index, whole) for index, whole in enumerate(wholes)]
        return Json({**self._head, "choices": choices, "usage": usage.to_dict()})

    async def events(self, generation: Generation) -> AsyncGenerator[bytes, None]:
        usage = self._usage(generation)
        options = self._body.stream_options
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
            out = b""
            if piece.logprobs is not None or (piece.text and is_running):
                logprobs = chat_logprobs(piece.logprobs, self._tokenizer)
                out += event(chunk(index, {"content": piece.text}, logprobs=logprobs))
            elif piece.text:
                out += contents[index].fill(orjson.dumps(piece.text))
            if piece.finish is not None:
                out += event(chunk(index, {}, **finish_fields(piece.finish)))
            return out

        contents = [content(index) for index in range(len(generation.samples))]
        for index in range(len(generation.samples)):
            yield event(chunk(index, {"role": "assistant", "content": ""}))
        async for pieces in generation:
            if out := b"".join([chunks(index, piece) for index, piece in pieces]):
                yield out
        if has_usage:
            yield event({**self._head, "choices": [], "usage": usage.to_dict()})
        yield DONE

    def _choice(self, index: int, whole: Piece) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": whole.text},
            "logprobs": chat_logprobs(whole.logprobs, self._tokenizer),
            **finish_fields(whole.finish),
        }

    def _usage(self, generation: Generation) -> Usage:
        return Usage(generation, reports_cache=self._service.config.enable_cache_report)


async def _render(body: ChatBody, template: ChatTemplate | None) -> str:
    """The prompt; long chats are rendered in a thread, so that streams go on meanwhile."""
    if template is None:
        raise InvalidRequest("This server has no chat template. Use /v1/completions.")
    messages = [_message(message, index) for index, message in enumerate(body.messages)]
    kwargs = body.chat_template_kwargs or {}
    _check_kwargs(kwargs)

    def render() -> str:
        return template.render(
            messages,
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=bool(body.continue_final_message),
            **kwargs,
        )

    if sum(len(str(message.get("content"))) for message in messages) < LONG_TEXT:
        return render()
    return await asyncio.to_thread(render)


def _message(message: dict[str, Any], index: int) -> dict[str, Any]:
    """Templates know no developer: the role is the newer name of system."""
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequest(
            f"messages[{index}].role must be one of {', '.join(ROLES)}, not {role!r}.",
            param=f"messages[{index}].role",
        )
    return message | {"role": "system"} if role == "developer" else message


def _check_kwargs(kwargs: dict[str, Any]) -> None:
    for name in ("messages", "tools", "add_generation_prompt", "continue_final_message"):
        if name in kwargs:
            raise InvalidRequest(
                f"chat_template_kwargs must not have {name!r}: it is a field of the request.",
                param="chat_template_kwargs",
            )

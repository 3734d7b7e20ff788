"""/v1/messages: chats as Anthropic's clients have them."""

import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from sgjax.errors import RequestAborted, SgjaxError
from sgjax.sampling_params import SamplingParams
from sgjax_server.answers.form import errors, events
from sgjax_server.answers.messages import AnthropicError, Message, MessageEvent, TokenCount
from sgjax_server.anthropic.blocks import Blocks, Told
from sgjax_server.anthropic.body import IGNORED, UNSUPPORTED, CountBody, MessagesBody
from sgjax_server.anthropic.call import call_of, params_of, response_format, shows_thoughts
from sgjax_server.anthropic.errors import anthropic_form
from sgjax_server.body import StrictRoute
from sgjax_server.chat import Chat, ChatGeneration
from sgjax_server.chat_events import End
from sgjax_server.constraints import read_format
from sgjax_server.errors import Json, error_body
from sgjax_server.openai_form import Usage
from sgjax_server.prompt_size import num_prompt_tokens
from sgjax_server.protocol import check_model
from sgjax_server.service import ServiceOf
from sgjax_server.sse import EventStream, typed_event, unless_gone

logger = logging.getLogger("sgjax.server")

router = APIRouter(route_class=StrictRoute)

_ERRORS = errors(400, 404, 413, 415, 429, 500, 503, model=AnthropicError.__name__)
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@router.post(
    "/v1/messages",
    response_model=Message,
    responses=_ERRORS | events(MessageEvent, says_done=False),
)
async def create_message(body: MessagesBody, request: Request, service: ServiceOf) -> Response:
    """The assistant's next message."""
    service.check_open()
    check_model(body.model, service.model_name)
    service.check_extras(body, IGNORED, UNSUPPORTED)
    form = _Form(body, service.model_name)
    chat = Chat(call_of(body, params_of(body, service), form.id), service)
    if body.stream:
        generation = await chat.start(is_streamed=True)
        return EventStream(generation, form.events(generation))
    return await unless_gone(request, form.respond(chat))


@router.post("/v1/messages/count_tokens", response_model=TokenCount, responses=_ERRORS)
async def count_tokens(body: CountBody, service: ServiceOf) -> Response:
    """How many tokens the prompt of a message would have."""
    service.check_open()
    check_model(body.model, service.model_name)
    service.check_extras(body, IGNORED, UNSUPPORTED)
    params = SamplingParams.from_dict(read_format(response_format(body)))
    count = await num_prompt_tokens(Chat(call_of(body, params, None), service), service)
    return Json({"input_tokens": count})


class _Form:
    """One call's answer, in Anthropic's form."""

    def __init__(self, body: MessagesBody, model: str):
        self.id = f"msg_{uuid.uuid4().hex}"
        self._model = model
        self._stops = body.stop_sequences or ()
        """Templates have others, which are the model's own."""
        self._blocks = Blocks(shows_thoughts=shows_thoughts(body))
        self._end: dict[str, Any] = {"stop_reason": None, "stop_sequence": None}

    async def respond(self, chat: Chat) -> Response:
        generation = await chat.start(is_streamed=False)
        async with aclosing(generation):
            async for news in generation:
                for _, event in news:
                    self._take(event)
        return Json(self._message(generation.usage))

    async def events(self, generation: ChatGeneration) -> AsyncGenerator[bytes, None]:
        """Errors are events too."""
        usage = generation.usage
        try:
            yield typed_event({"type": "message_start", "message": self._message(usage)})
            async for news in generation:
                if told := [each for _, event in news for each in self._take(event)]:
                    yield b"".join(map(typed_event, told))
            yield typed_event({"type": "message_delta", "delta": self._end, "usage": _usage(usage)})
            yield typed_event({"type": "message_stop"})
        except Exception as error:
            if not isinstance(error, SgjaxError):
                logger.exception("A stream failed.")
            yield typed_event(anthropic_form(error_body(error), getattr(error, "status", 500)))

    def _take(self, event: Any) -> list[Told]:
        """The events that tell of it. Raises RequestAborted at the end of what was aborted."""
        if not isinstance(event, End):
            return self._blocks.take(event)
        if event.reason == "abort":
            raise RequestAborted("The request was aborted.")
        is_sequence = event.reason == "stop" and event.finish.matched in self._stops
        self._end = {
            "stop_reason": "stop_sequence" if is_sequence else _REASONS[event.reason],
            "stop_sequence": event.finish.matched if is_sequence else None,
        }
        return self._blocks.end()

    def _message(self, usage: Usage) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": self._blocks.content,
            **self._end,
            "usage": _usage(usage),
        }


def _usage(usage: Usage) -> dict[str, Any]:
    """Tokens from the cache are told apart with --enable-cache-report only."""
    found = usage.to_dict()
    cached = found.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    out = {
        "input_tokens": found["prompt_tokens"] - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": found["completion_tokens"],
    }
    if details := found.get("completion_tokens_details"):
        out["output_tokens_details"] = {"thinking_tokens": details["reasoning_tokens"]}
    return out

"""/v1/responses: OpenAI's newer form of chats, with responses that are stored."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response as HttpResponse

from sgjax.sampling_params import SamplingParams
from sgjax_server.answers.form import GENERATES, READS_JSON, errors, events
from sgjax_server.answers.responses import (
    DeletedResponse,
    InputItems,
    InputTokens,
    ResponseEvent,
    ResponseObject,
)
from sgjax_server.body import StrictRoute
from sgjax_server.chat import Chat, ChatGeneration
from sgjax_server.constraints import read_format
from sgjax_server.errors import Json
from sgjax_server.listing import Cursor, page
from sgjax_server.prompt_size import num_prompt_tokens
from sgjax_server.protocol import check_model
from sgjax_server.responses.body import (
    IGNORED,
    LOGPROBS,
    UNSUPPORTED,
    CountBody,
    PromptBody,
    ResponseBody,
)
from sgjax_server.responses.call import (
    call_of,
    check,
    fields_of,
    params_of,
    response_format,
    with_options,
)
from sgjax_server.responses.items import Item, read_items
from sgjax_server.responses.output import Output
from sgjax_server.responses.response import Response, tell
from sgjax_server.service import Service, ServiceOf
from sgjax_server.sse import EventStream, typed_event, unless_gone

router = APIRouter(route_class=StrictRoute)

MAX_PAGE = 100
MAX_EVENTS = 2**31 - 1


@router.post(
    "/v1/responses",
    response_model=ResponseObject,
    responses=GENERATES | events(ResponseEvent, says_done=False),
)
async def create_response(body: ResponseBody, request: Request, service: ServiceOf) -> HttpResponse:
    """What a model says to an input. It is stored, unless `store` is false."""
    service.check_open()
    check_model(body.model, service.model_name)
    service.check_extras(body, IGNORED, UNSUPPORTED)
    check(body)
    response, chat = _read(body, service)
    if body.background:
        return await _start(body, response, chat, service)
    form = _Form(response, service, body)
    if body.stream:
        generation = await chat.start(is_streamed=True)
        return EventStream(generation, form.events(generation))
    return await unless_gone(request, form.respond(chat))


@router.post(
    "/v1/responses/input_tokens",
    response_model=InputTokens,
    responses=READS_JSON | errors(404, 429, 503),
)
async def count_input_tokens(body: CountBody, service: ServiceOf) -> HttpResponse:
    """How many tokens the prompt of a response would have."""
    service.check_open()
    check_model(body.model, service.model_name)
    service.check_extras(body, IGNORED, UNSUPPORTED)
    before, given = _items(body, service)
    params = SamplingParams.from_dict(read_format(response_format(body)))
    chat = Chat(call_of(body, params, [*before, *given]), service)
    count = await num_prompt_tokens(chat, service)
    return Json({"object": "response.input_tokens", "input_tokens": count})


@router.get(
    "/v1/responses/{response_id}",
    response_model=ResponseObject,
    responses=errors(400, 404) | events(ResponseEvent, says_done=False),
)
async def get_response(
    response_id: str,
    service: ServiceOf,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0, le=MAX_EVENTS)] = None,
) -> HttpResponse:
    """A stored response; with `stream` its events, of those after the number `starting_after`."""
    if not stream:
        return Json(service.responses.get(response_id))
    first = 0 if starting_after is None else starting_after + 1
    events = service.responses.events(response_id, first)
    return EventStream(events, events)


@router.delete("/v1/responses/{response_id}", response_model=DeletedResponse, responses=errors(404))
async def delete_response(response_id: str, service: ServiceOf) -> HttpResponse:
    await service.responses.delete(response_id)
    return Json({"id": response_id, "object": "response", "deleted": True})


@router.post(
    "/v1/responses/{response_id}/cancel",
    response_model=ResponseObject,
    responses=errors(400, 404),
)
async def cancel_response(response_id: str, service: ServiceOf) -> HttpResponse:
    """Ends a response that runs in the background."""
    return Json(await service.responses.cancel(response_id))


@router.get(
    "/v1/responses/{response_id}/input_items",
    response_model=InputItems,
    responses=errors(400, 404),
)
async def list_input_items(
    response_id: str,
    service: ServiceOf,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> HttpResponse:
    """What a stored response was given, the last item first."""
    items = service.responses.input_items(response_id)
    return Json(page(items if order == "asc" else items[::-1], after, limit))


def _items(body: PromptBody, service: Service) -> tuple[list[Item], list[Item]]:
    """Those of the responses before, and those that came."""
    store, previous = service.responses.store, body.previous_response_id
    given = read_items(body.input, store.item)
    return [] if previous is None else store.conversation(previous), given


def _read(body: ResponseBody, service: Service) -> tuple[Response, Chat]:
    before, given = _items(body, service)
    params = params_of(body, service)
    fields = fields_of(body, params, service.model_name)
    response = Response(fields, given, Output(service.needs_tokenizer()))
    call = call_of(body, params, [*before, *given])
    return response, Chat(with_options(call, body, response.id), service)


async def _start(
    body: ResponseBody, response: Response, chat: Chat, service: Service
) -> HttpResponse:
    is_streamed = bool(body.stream)
    generation = await chat.start(is_streamed=is_streamed or LOGPROBS in (body.include or ()))
    run = service.responses.start(response, generation, is_streamed=is_streamed)
    if run.log is None:
        return Json(response.to_dict())
    events = run.log.read()
    return EventStream(events, events)


class _Form:
    """A response whose client waits for it."""

    def __init__(self, response: Response, service: Service, body: ResponseBody):
        self._response = response
        self._service = service
        self._is_stored = body.store is not False
        self._has_logprobs = LOGPROBS in (body.include or ())

    async def respond(self, chat: Chat) -> HttpResponse:
        # Only of tokens that come one by one it can be told which are of the text.
        generation = await chat.start(is_streamed=self._has_logprobs)
        self._response.begin(generation.usage)
        async with aclosing(generation):
            async for news in generation:
                for _, event in news:
                    self._response.take(event)
        self._keep()
        return Json(self._response.to_dict())

    async def events(self, generation: ChatGeneration) -> AsyncGenerator[bytes, None]:
        """Before a client is told the end, it may go on from there."""
        async for told in tell(self._response, generation):
            if self._response.is_over:
                self._keep()
            if told:
                yield b"".join(map(typed_event, told))

    def _keep(self) -> None:
        if self._is_stored:
            self._service.responses.keep(self._response)

"""POST /v1/completions."""

import dataclasses
import heapq
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from sgjax.engine.request import FinishReason
from sgjax.errors import InvalidRequest
from sgjax.front.generator import Generation, Sample
from sgjax.front.piece import Piece
from sgjax.front.request import GenerationRequest
from sgjax.text import Tokenizer
from sgjax_server.answers.form import GENERATES, events
from sgjax_server.answers.openai import Completion
from sgjax_server.body import StrictRoute
from sgjax_server.errors import Json
from sgjax_server.event_template import EventTemplate
from sgjax_server.openai_form import (
    CompletionLogprobs,
    Usage,
    check_stream_options,
    finish_fields,
    new_id,
    read_params,
)
from sgjax_server.protocol import CompletionBody, check_model
from sgjax_server.service import Service, ServiceOf
from sgjax_server.sse import DONE, EventStream, event, unless_gone

router = APIRouter(route_class=StrictRoute)

DEFAULT_MAX_TOKENS = 16


@router.post("/v1/completions", response_model=Completion, responses=GENERATES | events(Completion))
async def completions(body: CompletionBody, request: Request, service: ServiceOf) -> Response:
    """Goes on from each prompt; choices come prompt by prompt."""
    service.check_open()
    check_model(body.model, service.model_name)
    service.check_extras(body)
    check_stream_options(body)
    _check_best_of(body)
    form = _Form(body, service)
    if body.stream:
        generation = await service.start(form.requests, is_streamed=True)
        return EventStream(generation, form.events(generation))
    return await unless_gone(request, form.respond())


class _Form:
    """One call: the requests it makes, and what their pieces look like."""

    def __init__(self, body: CompletionBody, service: Service):
        self._body = body
        self._service = service
        self._tokenizer = service.needs_tokenizer()
        params = read_params(
            body,
            service.default_sampling,
            DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        )
        self._num_told = params.n
        self._params = dataclasses.replace(params, n=body.best_of or params.n)
        self._head = {
            "id": new_id(body, "cmpl"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.model_name,
        }
        self.requests = [self._request(prompt) for prompt in _prompts(body.prompt)]

    def _request(self, prompt: str | Sequence[int]) -> GenerationRequest:
        body = self._body
        return GenerationRequest(
            prompt=prompt,
            params=self._params,
            rid=self._head["id"],
            return_logprob=body.logprobs is not None or self._params.n > self._num_told,
            logprob_start=0 if body.echo and body.logprobs is not None else None,
            top_logprobs=body.logprobs or 0,
            cache_salt=body.cache_salt or "",
            add_special_tokens=body.add_special_tokens is not False,
            overflow="cut" if body.max_tokens is None else "refuse",
        )

    async def respond(self) -> Response:
        generation = await self._service.start(self.requests)
        usage, choices = self._usage(generation), self._choices(generation)
        wholes = [Piece("", []) for _ in choices]
        async with aclosing(generation):
            async for pieces in generation:
                for index, piece in pieces:
                    usage.add(index, piece)
                    wholes[index].extend(piece)
        answered = [
            choices[index].to_dict(wholes[index]) | {"index": at}
            for at, index in enumerate(self._told(wholes))
        ]
        return Json({**self._head, "choices": answered, "usage": usage.to_dict()})

    def _told(self, wholes: list[Piece]) -> list[int]:
        """The samples that are told of: of each prompt's `best_of` the `n` likeliest."""
        num_drawn, num_told = self._params.n, self._num_told
        if num_drawn == num_told:
            return list(range(len(wholes)))
        return [
            index
            for first in range(0, len(wholes), num_drawn)
            for index in heapq.nlargest(
                num_told,
                range(first, first + num_drawn),
                key=lambda index: _mean_logprob(wholes[index]),
            )
        ]

    async def events(self, generation: Generation) -> AsyncGenerator[bytes, None]:
        options = self._body.stream_options
        has_usage = bool(options and options.include_usage)
        is_running = bool(has_usage and options and options.continuous_usage_stats)
        usage, choices = self._usage(generation), self._choices(generation)

        def chunk(choice: dict[str, Any]) -> dict[str, Any]:
            out = {**self._head, "choices": [choice]}
            if has_usage:
                out["usage"] = usage.to_dict() if is_running else None
            return out

        def event_of(index: int, piece: Piece) -> bytes:
            usage.add(index, piece)
            if choices[index].is_only_text(piece) and not is_running:
                return texts[index].fill(orjson.dumps(piece.text))
            return event(chunk(choices[index].to_dict(piece)))

        def text_of(index: int) -> EventTemplate:
            return EventTemplate(lambda text: chunk(_choice_fields(index, text)))

        texts = [text_of(index) for index in range(len(choices))]
        async for pieces in generation:
            yield b"".join([event_of(index, piece) for index, piece in pieces])
        if has_usage:
            yield event({**self._head, "choices": [], "usage": usage.to_dict()})
        yield DONE

    def _usage(self, generation: Generation) -> Usage:
        return Usage(generation, reports_cache=self._service.config.enable_cache_report)

    def _choices(self, generation: Generation) -> list["_Choice"]:
        return [
            _Choice(index, sample, self._body, self._tokenizer)
            for index, sample in enumerate(generation.samples)
        ]


class _Choice:
    def __init__(self, index: int, sample: Sample, body: CompletionBody, tokenizer: Tokenizer):
        skips = body.skip_special_tokens is not False
        self._index = index
        self._echo = ""
        if body.echo:
            text = sample.prompt.text
            ids = sample.prompt.ids
            self._echo = tokenizer.decode(ids, skip_special_tokens=skips) if text is None else text
        self._logprobs = None
        if body.logprobs is not None:
            self._logprobs = CompletionLogprobs(
                tokenizer, skip_special_tokens=skips, starts_text=bool(body.echo)
            )

    def to_dict(self, piece: Piece) -> dict[str, Any]:
        """The piece as a choice; the first one after the echo of the prompt."""
        echo, self._echo = self._echo, ""
        logprobs = self._logprobs and self._logprobs.to_dict(piece.prompt_logprobs, piece.logprobs)
        return _choice_fields(self._index, echo + piece.text, logprobs, piece.finish)

    def is_only_text(self, piece: Piece) -> bool:
        return not self._echo and self._logprobs is None and piece.finish is None


def _check_best_of(body: CompletionBody) -> None:
    num_told = body.n or 1
    if body.best_of is None or body.best_of == num_told:
        return
    if body.best_of < num_told:
        raise InvalidRequest(
            f"best_of ({body.best_of}) must not be smaller than n ({num_told}): the n best of them "
            "are told.",
            param="best_of",
        )
    if body.stream:
        raise InvalidRequest(
            "Which choices are the best is known at their end: best_of above n cannot be streamed.",
            param="best_of",
        )


def _mean_logprob(whole: Piece) -> float:
    """How likely a sample is, whatever its length."""
    logprobs = whole.logprobs.logprobs if whole.logprobs else ()
    found = [value for value in logprobs if value is not None]
    return sum(found) / len(found) if found else 0.0


def _choice_fields(
    index: int, text: str, logprobs: Any = None, finish: FinishReason | None = None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, **finish_fields(finish)}


def _prompts(value: Any) -> list[str | Sequence[int]]:
    """A list with a prompt each. The body was checked: see protocol.Prompts."""
    if isinstance(value, str) or isinstance(value[0], int):
        return [value]
    return value

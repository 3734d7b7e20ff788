"""POST /generate, in SGLang's form."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from sgjax.front.generator import Generation
from sgjax.front.native import Answer, NativeCall, read_call
from sgjax_server.answers.form import GENERATES, events
from sgjax_server.answers.native import Generated
from sgjax_server.body import StrictRoute
from sgjax_server.errors import Json
from sgjax_server.growing_answer import StreamedAnswer, streamed_answer
from sgjax_server.protocol import GenerateBody
from sgjax_server.service import Service, ServiceOf
from sgjax_server.sse import DONE, EventStream, unless_gone

router = APIRouter(route_class=StrictRoute)


_ANSWERS: Any = {
    "response_model": Generated | list[Generated],
    "responses": GENERATES | events(Generated),
}


@router.post("/generate", **_ANSWERS)
@router.put("/generate", **_ANSWERS)
async def generate(body: GenerateBody, request: Request, service: ServiceOf) -> Response:
    """Goes on from a prompt, or from each of a batch. A stream's texts are cumulative."""
    service.check_open()
    service.check_extras(body)
    call = read_call(
        body.text,
        body.input_ids,
        body.sampling_params,
        rid=body.rid,
        return_logprob=body.return_logprob,
        logprob_start_len=body.logprob_start_len,
        top_logprobs_num=body.top_logprobs_num,
        cache_salt=body.cache_salt or body.extra_key or "",
    )
    has_text = bool(body.return_text_in_logprobs)
    if body.stream:
        generation = await service.start(call.requests, is_streamed=True)
        answers = [
            streamed_answer(sample, service.tokenizer, index, has_logprob_text=has_text)
            for index, sample in enumerate(generation.samples)
        ]
        return EventStream(generation, _events(generation, answers), after_error=DONE)
    return await unless_gone(request, _respond(call, service, has_text))


async def _respond(call: NativeCall, service: Service, has_text: bool) -> Response:
    generation = await service.start(call.requests)
    answers = [
        Answer(sample, service.tokenizer, has_logprob_text=has_text)
        for sample in generation.samples
    ]
    async with aclosing(generation):
        async for pieces in generation:
            for index, piece in pieces:
                answers[index].add(piece)
    outputs = [answer.to_dict(index) for index, answer in enumerate(answers)]
    return Json(outputs if call.is_list else outputs[0])


async def _events(
    generation: Generation, answers: list[StreamedAnswer]
) -> AsyncGenerator[bytes, None]:
    async for pieces in generation:
        yield b"".join([answers[index].event(piece) for index, piece in pieces])
    yield DONE

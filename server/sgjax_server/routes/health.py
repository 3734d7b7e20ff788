"""Whether the server answers, is ready, and can generate; and what it measures."""

import asyncio
import uuid
from array import array

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from sgjax.engine.messages import Submit
from sgjax.errors import EngineDead
from sgjax.front.stream import SampleStream
from sgjax.sampling_params import SamplingParams
from sgjax_server.answers.form import errors
from sgjax_server.answers.native import Ready
from sgjax_server.errors import Json, NotReady
from sgjax_server.service import Service, ServiceOf

router = APIRouter()

GENERATE_TIMEOUT_S = 20.0


@router.get("/health", response_class=Response)
async def health() -> Response:
    """200 as long as the process answers."""
    return Response(status_code=200)


@router.get("/health/ready", response_model=Ready, responses=errors(503))
async def ready(service: ServiceOf) -> Response:
    """200 while requests are taken and nothing is left to compile; else 503."""
    service.check_open()
    if not service.client.is_ready:
        raise NotReady("The engine serves, but some of its programs are not compiled yet.")
    return Json({"ready": True})


@router.get("/health_generate", response_class=Response, responses=errors(500, 503))
async def health_generate(service: ServiceOf) -> Response:
    """200 once the engine has generated a token for this very request."""
    service.check_open()
    try:
        async with asyncio.timeout(GENERATE_TIMEOUT_S):
            await _generate_a_token(service)
    except TimeoutError:
        raise NotReady(
            f"The engine generated no token within {GENERATE_TIMEOUT_S:g} seconds."
        ) from None
    return Response(status_code=200)


async def _generate_a_token(service: Service) -> None:
    """Past the generator's bound on purpose: a full queue is no sickness."""
    token = next(iter(service.client.info.eos_ids), 0)
    params = SamplingParams(max_new_tokens=1, temperature=0.0, ignore_eos=True)
    submit = Submit(f"health-{uuid.uuid4().hex}", array("i", [token]), params)
    stream, is_over = SampleStream(None, submit), False
    with service.client.open([submit]) as deltas:
        while not is_over:
            for delta in (await deltas.take()).values():
                piece = stream.take(delta)
                is_over = piece is not None and piece.finish is not None


@router.get("/metrics", response_class=PlainTextResponse)
async def prometheus(service: ServiceOf) -> Response:
    """Prometheus' text format."""
    try:
        stats = await service.client.stats()
    except EngineDead:
        stats = None
    return Response(service.metrics.exposition(stats), media_type=CONTENT_TYPE_LATEST)

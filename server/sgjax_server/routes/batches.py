"""/v1/batches: requests in a file, answered when there is room."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from sgjax_server.answers.files import Batch, BatchList
from sgjax_server.answers.form import READS_JSON, errors
from sgjax_server.body import StrictRoute
from sgjax_server.errors import Json
from sgjax_server.listing import Cursor, page
from sgjax_server.protocol import Body, Metadata
from sgjax_server.routes.files import LIFETIME_S
from sgjax_server.service import ServiceOf

router = APIRouter(route_class=StrictRoute)

MAX_PAGE = 100

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]


class ExpiresAfter(Body):
    """How long after its making a file is kept."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=LIFETIME_S[0], le=LIFETIME_S[1])]


class BatchBody(Body):
    """POST /v1/batches."""

    input_file_id: Annotated[str, Field(max_length=256)]
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


@router.post("/v1/batches", response_model=Batch, responses=READS_JSON | errors(429, 503, 507))
async def create_batch(body: BatchBody, service: ServiceOf) -> Response:
    """Starts a batch over the requests of a file."""
    service.check_open()
    service.check_extras(body)
    expiry = body.output_expires_after
    batch = service.batches.create(
        body.endpoint,
        body.input_file_id,
        model=service.model_name,
        completion_window=body.completion_window,
        metadata=body.metadata,
        output_lifetime_s=None if expiry is None else expiry.seconds,
    )
    return Json(batch.to_dict())


@router.get("/v1/batches", response_model=BatchList, responses=errors(400))
async def list_batches(
    service: ServiceOf, after: Cursor = None, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20
) -> Response:
    """Batches, the newest first."""
    return Json(page([batch.to_dict() for batch in service.batches.list()], after, limit))


@router.get("/v1/batches/{batch_id}", response_model=Batch, responses=errors(404))
async def get_batch(batch_id: str, service: ServiceOf) -> Response:
    return Json(service.batches.get(batch_id).to_dict())


@router.post("/v1/batches/{batch_id}/cancel", response_model=Batch, responses=errors(400, 404))
async def cancel_batch(batch_id: str, service: ServiceOf) -> Response:
    """Ends a batch early. What was answered so far is in its output file."""
    return Json(service.batches.cancel(batch_id).to_dict())

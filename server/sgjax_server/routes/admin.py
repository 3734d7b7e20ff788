"""What operators ask for."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from sgjax.errors import InvalidRequest
from sgjax_server.answers.form import READS_JSON, errors
from sgjax_server.body import StrictRoute
from sgjax_server.protocol import AbortBody
from sgjax_server.service import ServiceOf

router = APIRouter(route_class=StrictRoute)


@router.post("/flush_cache", response_class=PlainTextResponse, responses=errors(400, 503))
@router.get("/flush_cache", response_class=PlainTextResponse, responses=errors(400, 503))
async def flush_cache(service: ServiceOf) -> Response:
    """Empties the prefix cache, if nothing runs or waits."""
    if not await service.client.flush_cache():
        raise InvalidRequest(
            "The cache was not flushed: requests run or wait. Try again when none do, or end them "
            "by POST /abort_request with abort_all."
        )
    return PlainTextResponse("Cache flushed.\n")


@router.post("/abort_request", response_class=Response, responses=READS_JSON | errors(503))
async def abort_request(body: AbortBody, service: ServiceOf) -> Response:
    """Ends one request by its rid, or all. A rid that is not under way is no error."""
    service.check_extras(body)
    if not body.abort_all and not body.rid:
        raise InvalidRequest("Name a request by rid, or set abort_all to true.", param="rid")
    await service.generator.abort(None if body.abort_all else body.rid)
    return Response(status_code=200)

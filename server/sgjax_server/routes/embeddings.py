"""POST /v1/embeddings: checked as OpenAI has it, and refused, since models that generate have none
to give."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, Field, WithJsonSchema
from starlette.responses import Response

from sgjax.errors import InvalidRequest
from sgjax.front.token_ids import read_ids
from sgjax_server.answers.form import READS_JSON, errors
from sgjax_server.body import StrictRoute
from sgjax_server.prompts import BATCH_SCHEMA, IDS_SCHEMA, TEXTS_SCHEMA, check_prompts
from sgjax_server.protocol import Body, check_model
from sgjax_server.service import Service, ServiceOf

router = APIRouter(route_class=StrictRoute)

MAX_INPUTS = 2048
MAX_DIMENSIONS = 1 << 20


def _check_input(value: Any) -> Any:
    found = check_prompts(value)
    if isinstance(found, list) and len(found) > MAX_INPUTS:
        raise ValueError(f"may have at most {MAX_INPUTS} inputs, and has {len(found)}")
    if "" in (found if isinstance(found, list) else [found]):
        raise ValueError("must not be empty")
    return found


_TEXT = {"type": "string", "minLength": 1}
Input = Annotated[
    Any,
    AfterValidator(_check_input),
    WithJsonSchema(
        {
            "anyOf": [
                _TEXT,
                {**TEXTS_SCHEMA, "items": _TEXT, "maxItems": MAX_INPUTS},
                IDS_SCHEMA,
                {**BATCH_SCHEMA, "maxItems": MAX_INPUTS},
            ]
        }
    ),
]


class EmbeddingBody(Body):
    """POST /v1/embeddings."""

    input: Input
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)] | None = None
    user: str | None = None


@router.post("/v1/embeddings", status_code=400, responses=READS_JSON | errors(404, 503))
async def embeddings(body: EmbeddingBody, service: ServiceOf) -> Response:
    """Refused: the model that is served generates text and has no embeddings."""
    service.check_open()
    check_model(body.model, service.model_name)
    service.check_extras(body)
    _check_vocabulary(body.input, service)
    raise InvalidRequest(
        f"The model {service.model_name!r} generates text and has no embeddings. Serve a model "
        "made for embeddings.",
        param="model",
    )


def _check_vocabulary(given: Any, service: Service) -> None:
    """Clients that tokenise by themselves may do so with another model's tokenizer."""
    for ids in given if isinstance(given, list) else [given]:
        if not isinstance(ids, str):
            read_ids(ids, service.client.info.vocab_size, param="input")

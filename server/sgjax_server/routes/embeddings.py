"""POST /v1/embeddings, in OpenAI's form, and /encode, in SGLang's."""

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import AfterValidator, Field, WithJsonSchema
from starlette.responses import Response

from sgjax.errors import InvalidRequest
from sgjax.front.request import MAX_RID_CHARS
from sgjax.front.token_ids import read_ids
from sgjax.front.vectors import Vector, encoded, read_vector_call, shortened
from sgjax_server.answers.form import GENERATES
from sgjax_server.answers.vectors import Embeddings, Encoded
from sgjax_server.body import StrictRoute
from sgjax_server.errors import Json
from sgjax_server.prompts import (
    BATCH_SCHEMA,
    IDS_SCHEMA,
    TEXTS_SCHEMA,
    InputIds,
    check_prompts,
)
from sgjax_server.protocol import Body, check_model, one_of
from sgjax_server.service import Service, ServiceOf
from sgjax_server.sse import unless_gone
from sgjax_server.vectors import listed, started, usage, vectors_of

router = APIRouter(route_class=StrictRoute)

MAX_INPUTS = 2048
MAX_DIMENSIONS = 1 << 20


def check_inputs(value: Any) -> Any:
    found = check_prompts(value)
    if isinstance(found, list) and len(found) > MAX_INPUTS:
        raise ValueError(f"may have at most {MAX_INPUTS} inputs, and has {len(found)}")
    if "" in (found if isinstance(found, list) else [found]):
        raise ValueError("must not be empty")
    return found


TEXT_SCHEMA = {"type": "string", "minLength": 1}
INPUT_SCHEMAS = [
    TEXT_SCHEMA,
    {**TEXTS_SCHEMA, "items": TEXT_SCHEMA, "maxItems": MAX_INPUTS},
    IDS_SCHEMA,
    {**BATCH_SCHEMA, "maxItems": MAX_INPUTS},
]
Input = Annotated[Any, AfterValidator(check_inputs), WithJsonSchema({"anyOf": INPUT_SCHEMAS})]
Text = Annotated[str, Field(min_length=1)]
Texts = Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]


class EmbeddingBody(Body):
    """POST /v1/embeddings."""

    input: Input
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)] | None = None
    user: str | None = None


class EncodeBody(Body):
    """POST /encode."""

    model_config = one_of("text", "input_ids")
    text: Texts | None = None
    input_ids: InputIds = None
    rid: Annotated[str, Field(min_length=1, max_length=MAX_RID_CHARS)] | None = None
    sampling_params: dict[str, Any] | None = None
    """Says nothing: SGLang's clients send it."""


@router.post("/v1/embeddings", response_model=Embeddings, responses=GENERATES)
async def embeddings(body: EmbeddingBody, request: Request, service: ServiceOf) -> Response:
    """A vector for each input, in their order; of length 1, but where the checkpoint says not."""
    check_model(body.model, service.model_name)
    service.check_extras(body)
    inputs = listed(body.input)
    _check_vocabulary(inputs, service)
    found = await unless_gone(request, vectors_of(service, inputs))
    needs_embeddings(service)
    is_base64 = body.encoding_format == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _written(vector, body.dimensions, is_base64=is_base64),
        }
        for index, vector in enumerate(found)
    ]
    answer = {"object": "list", "data": data, "model": service.model_name, "usage": usage(found)}
    return Json(answer)


@router.post("/encode", response_model=Encoded | list[Encoded], responses=GENERATES)
@router.put("/encode", include_in_schema=False)
async def encode(body: EncodeBody, request: Request, service: ServiceOf) -> Response:
    """The vector of a prompt, or of each of several: an embedding, or a classifier's scores."""
    service.check_extras(body)
    return Json(await unless_gone(request, encode_as_sglang(body, service)))


async def encode_as_sglang(body: EncodeBody, service: Service) -> Any:
    requests, is_list = read_vector_call(body.text, body.input_ids, rid=body.rid)
    answers = encoded(await started(service, requests))
    return answers if is_list else answers[0]


def needs_embeddings(service: Service) -> None:
    if service.client.info.task == "classify":
        raise InvalidRequest(
            f"The model {service.model_name!r} scores labels and has no embeddings. Ask /classify.",
            param="model",
        )


def _written(vector: Vector, dimensions: int | None, *, is_base64: bool) -> str | list[float]:
    values = shortened(vector.values, dimensions)
    if is_base64:
        return base64.b64encode(values.astype("<f4").tobytes()).decode()
    return values.tolist()


def _check_vocabulary(inputs: list[Any], service: Service) -> None:
    """Clients that tokenise by themselves may do so with another model's tokenizer."""
    for ids in inputs:
        if not isinstance(ids, str):
            read_ids(ids, service.client.info.vocab_size, param="input")

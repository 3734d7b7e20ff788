"""Scores: /classify, /v1/rerank and /v1/score, in the forms of vLLM, Cohere and SGLang."""

import uuid
from array import array
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import Field, WithJsonSchema
from pydantic.functional_validators import AfterValidator
from starlette.responses import Response

from sgjax.errors import InvalidRequest
from sgjax.front.vectors import Vector, vector_request
from sgjax_server.answers.form import GENERATES
from sgjax_server.answers.vectors import Classification, Encoded, LabelScores, Ranking, Scores
from sgjax_server.body import StrictRoute
from sgjax_server.errors import Json
from sgjax_server.label_scores import label_scores
from sgjax_server.prompts import IDS_SCHEMA, ids_of
from sgjax_server.protocol import Body, TokenId, check_model, one_of
from sgjax_server.routes.embeddings import (
    INPUT_SCHEMAS,
    MAX_INPUTS,
    TEXT_SCHEMA,
    EncodeBody,
    Input,
    Text,
    Texts,
    check_inputs,
    encode_as_sglang,
)
from sgjax_server.service import Service, ServiceOf
from sgjax_server.sse import unless_gone
from sgjax_server.vectors import listed, listing, probabilities, started, usage, vectors_of

router = APIRouter(route_class=StrictRoute)

MAX_LABELS = 128


class ClassifyBody(EncodeBody):
    """POST /classify: `input` is vLLM's, `text` and `input_ids` are SGLang's."""

    model_config = one_of("input", "text", "input_ids")
    input: Input = None
    model: str | None = None


class RerankDocument(Body):
    text: Text


Documents = Annotated[list[Text | RerankDocument], Field(min_length=1, max_length=MAX_INPUTS)]


class RerankBody(Body):
    """POST /v1/rerank."""

    query: Text
    documents: Documents
    model: str | None = None
    top_n: Annotated[int, Field(ge=0, le=MAX_INPUTS)] | None = None
    """0: all, as vLLM has it."""
    return_documents: bool | None = None
    """By default true."""


def _check_query(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value):
        return value
    if isinstance(found := ids_of(value), array):
        return found
    raise ValueError("must be a text that is not empty, or a list of token ids (integers from 0)")


def _check_items(value: Any) -> Any:
    return None if value is None else check_inputs(value)


_NULL = {"type": "null"}
Query = Annotated[
    Any,
    AfterValidator(_check_query),
    WithJsonSchema({"anyOf": [TEXT_SCHEMA, IDS_SCHEMA, _NULL]}),
]
Items = Annotated[
    Any, AfterValidator(_check_items), WithJsonSchema({"anyOf": [*INPUT_SCHEMAS, _NULL]})
]


class ScoreBody(Body):
    """POST /v1/score: `text_1` and `text_2` are vLLM's, `query` and `items` SGLang's."""

    model_config = one_of("text_1", "query")
    model: str | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None
    query: Query = None
    items: Items = None
    label_token_ids: Annotated[list[TokenId], Field(min_length=1, max_length=MAX_LABELS)] | None = (
        None
    )
    apply_softmax: bool | None = None
    item_first: bool | None = None


@router.post("/v1/classify", include_in_schema=False)
@router.post(
    "/classify", response_model=Classification | Encoded | list[Encoded], responses=GENERATES
)
async def classify(body: ClassifyBody, request: Request, service: ServiceOf) -> Response:
    """The likeliest label of each input, with all probabilities; in SGLang's form bare scores."""
    check_model(body.model, service.model_name)
    service.check_extras(body)
    if body.input is None:
        return Json(await unless_gone(request, encode_as_sglang(body, service)))
    found = await unless_gone(request, vectors_of(service, listed(body.input)))
    labels = service.client.info.labels
    if not labels:
        raise InvalidRequest(
            f"The model {service.model_name!r} has no labels. Ask /v1/embeddings.", param="model"
        )
    data = [
        {
            "index": index,
            "label": labels[int(vector.values.argmax())],
            "probs": probabilities(vector.values).tolist(),
            "num_classes": len(labels),
        }
        for index, vector in enumerate(found)
    ]
    return Json(listing(service, "classify", data, found))


@router.post("/rerank", include_in_schema=False)
@router.post("/v2/rerank", include_in_schema=False)
@router.post("/v1/rerank", response_model=Ranking, responses=GENERATES)
async def rerank(body: RerankBody, request: Request, service: ServiceOf) -> Response:
    """Documents by how well they answer the query: by a cross-encoder, or by the cosine of their
    embeddings with the query's."""
    check_model(body.model, service.model_name)
    service.check_extras(body)
    texts = [each if isinstance(each, str) else each.text for each in body.documents]
    pairs = [(body.query, text) for text in texts]
    scores, found = await unless_gone(request, _scored(service, pairs))
    order = np.argsort(-scores, kind="stable").tolist()[: body.top_n or len(texts)]
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": float(scores[index])} for index in order
    ]
    if body.return_documents is not False:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    name = f"rerank-{uuid.uuid4().hex}"
    answer = {"id": name, "model": service.model_name, "results": results, "usage": usage(found)}
    return Json(answer)


@router.post("/score", include_in_schema=False)
@router.post("/v1/score", response_model=Scores | LabelScores, responses=GENERATES)
async def score(body: ScoreBody, request: Request, service: ServiceOf) -> Response:
    """How well the texts of each pair go together; in SGLang's form, how likely a model that
    generates goes on from each item with each label."""
    check_model(body.model, service.model_name)
    service.check_extras(body)
    if body.query is not None:
        return Json(await unless_gone(request, _label_scores(body, service)))
    pairs = _pairs(body)
    scores, found = await unless_gone(request, _scored(service, pairs))
    data = [
        {"index": index, "object": "score", "score": float(value)}
        for index, value in enumerate(scores)
    ]
    return Json(listing(service, "score", data, found))


async def _label_scores(body: ScoreBody, service: Service) -> dict[str, Any]:
    if body.items is None or body.label_token_ids is None or body.query is None:
        raise InvalidRequest("query needs items and label_token_ids beside it.", param="items")
    query, items = body.query, listed(body.items)
    if any(isinstance(item, str) != isinstance(query, str) for item in items):
        raise InvalidRequest(
            "query and items must both be texts, or both token ids.", param="items"
        )
    prompts = [item + query if body.item_first else query + item for item in items]
    scores, count = await label_scores(
        service, prompts, body.label_token_ids, is_softmax=bool(body.apply_softmax)
    )
    return {
        "scores": scores,
        "model": service.model_name,
        "usage": {"prompt_tokens": count, "total_tokens": count},
        "object": "scoring",
    }


def _pairs(body: ScoreBody) -> list[tuple[str, str]]:
    """One text with each of several, or several with as many."""
    if body.text_1 is None or body.text_2 is None:
        raise InvalidRequest(
            "Give text_1 and text_2, or query, items and label_token_ids.", param="text_1"
        )
    first = [body.text_1] if isinstance(body.text_1, str) else body.text_1
    second = [body.text_2] if isinstance(body.text_2, str) else body.text_2
    if len(first) == 1:
        first = first * len(second)
    if len(first) != len(second):
        raise InvalidRequest(
            f"text_1 has {len(first)} texts and text_2 {len(second)}. Give one text_1 for all, or "
            "one for each.",
            param="text_1",
        )
    return list(zip(first, second, strict=True))


async def _scored(
    service: Service, pairs: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, list[Vector]]:
    """A score for each pair, and what was computed for them."""
    info = service.client.info
    if info.task == "classify":
        if len(info.labels) != 1:
            raise InvalidRequest(
                f"The model {service.model_name!r} scores {len(info.labels)} labels; pairs are "
                "scored by one that has a single one. Ask /classify.",
                param="model",
            )
        service.needs_tokenizer()
        requests = [vector_request(first, second=second) for first, second in pairs]
        found = await started(service, requests)
        return np.array([probabilities(vector.values)[0] for vector in found]), found
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    found = await vectors_of(service, texts)
    at = {text: vector.values for text, vector in zip(texts, found, strict=True)}
    return np.array([_cosine(at[a], at[b]) for a, b in pairs]), found


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    cosine = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
    return min(max(cosine, -1.0), 1.0)  # rounded, it may be a little more

"""/tokenize and /detokenize: text to token ids and back, in the forms of SGLang and of vLLM."""

import asyncio
from array import array
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, Field, WithJsonSchema
from starlette.responses import Response

from sgjax.errors import InvalidRequest
from sgjax.front.generator import LONG_TEXT
from sgjax.front.token_ids import read_ids
from sgjax.sampling_params import SamplingParams
from sgjax.text import Tokenizer
from sgjax_server.answers.form import READS_JSON, errors
from sgjax_server.answers.native import Detokenized, Tokenized
from sgjax_server.body import StrictRoute
from sgjax_server.chat import Chat, ChatCall
from sgjax_server.errors import Json
from sgjax_server.prompts import BATCH_SCHEMA, IDS_SCHEMA, Message, ids_of
from sgjax_server.protocol import MAX_MESSAGES, MAX_TOOLS, Body, check_model, one_of
from sgjax_server.service import Service, ServiceOf

router = APIRouter(route_class=StrictRoute)

MAX_TEXTS = 2048
MAX_TOKENS = 1 << 20
"""Ids of one call to /detokenize."""

_ERRORS = READS_JSON | errors(404, 429)
_EMPTY_SCHEMA = {"type": "array", "maxItems": 0}


def _check_tokens(value: Any) -> Any:
    if value == []:
        return array("i")
    if (found := ids_of(value)) is not None:
        return found
    raise ValueError("must be a list of token ids (integers from 0), or a list of such lists")


Tokens = Annotated[
    Any,
    AfterValidator(_check_tokens),
    WithJsonSchema({"anyOf": [_EMPTY_SCHEMA, IDS_SCHEMA, BATCH_SCHEMA]}),
]


class TokenizeBody(Body):
    """POST /tokenize: a prompt, several, or a chat."""

    model_config = one_of("prompt", "messages")
    model: str | None = None
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)] | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    add_special_tokens: bool | None = None
    """By default true for prompts, false for chats, whose templates bring their own."""
    return_token_strs: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=64)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS)] | None = None


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: Tokens
    skip_special_tokens: bool | None = None
    """By default true."""


@router.post("/v1/tokenize", response_model=Tokenized, responses=_ERRORS)
@router.post("/tokenize", response_model=Tokenized, responses=_ERRORS)
async def tokenize(body: TokenizeBody, service: ServiceOf) -> Response:
    """The token ids of a prompt, of each of several, or of a chat as its template renders it."""
    check_model(body.model, service.model_name)
    service.check_extras(body)
    tokenizer = service.needs_tokenizer()
    if (body.prompt is None) == (body.messages is None):
        raise InvalidRequest("Give either prompt or messages, and not both.", param="prompt")
    text = body.prompt if body.prompt is not None else await _rendered(body, service)
    texts = [text] if isinstance(text, str) else text
    is_special = body.add_special_tokens
    if is_special is None:
        is_special = body.messages is None
    if sum(map(len, texts)) < LONG_TEXT:
        lists = _encode(tokenizer, texts, is_special)
    else:
        lists = await asyncio.to_thread(_encode, tokenizer, texts, is_special)
    out: dict[str, Any] = {"max_model_len": service.client.info.context_length}
    if body.return_token_strs:
        words = [[tokenizer.token_text(token) for token in ids] for ids in lists]
        out["token_strs"] = words[0] if isinstance(text, str) else words
    counts = [len(ids) for ids in lists]
    if isinstance(text, str):
        return Json({"tokens": lists[0], "count": counts[0], **out})
    return Json({"tokens": lists, "count": counts, **out})


@router.post("/v1/detokenize", response_model=Detokenized, responses=_ERRORS)
@router.post("/detokenize", response_model=Detokenized, responses=_ERRORS)
async def detokenize(body: DetokenizeBody, service: ServiceOf) -> Response:
    """The text of token ids; vLLM calls it `prompt`."""
    check_model(body.model, service.model_name)
    service.check_extras(body)
    tokenizer = service.needs_tokenizer()
    lists = body.tokens if isinstance(body.tokens, list) else [body.tokens]
    count = sum(map(len, lists))
    if count > MAX_TOKENS:
        raise InvalidRequest(
            f"At most {MAX_TOKENS} tokens may come at a time, not {count}. Send them in parts.",
            param="tokens",
        )
    for ids in lists:
        if ids:
            read_ids(ids, service.client.info.vocab_size, param="tokens")
    skips = body.skip_special_tokens is not False
    texts = await asyncio.to_thread(_decode, tokenizer, lists, skips)
    text = texts if isinstance(body.tokens, list) else texts[0]
    return Json({"text": text, "prompt": text})


async def _rendered(body: TokenizeBody, service: Service) -> str:
    assert body.messages is not None
    call = ChatCall(
        messages=body.messages,
        params=SamplingParams(),
        tools=body.tools,
        template_kwargs=body.chat_template_kwargs or {},
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=bool(body.continue_final_message),
    )
    request = await Chat(call, service).request()
    assert isinstance(request.prompt, str)
    return request.prompt


def _encode(tokenizer: Tokenizer, texts: list[str], is_special: bool) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=is_special) for text in texts]


def _decode(tokenizer: Tokenizer, lists: list[array], skips: bool) -> list[str]:
    return [tokenizer.decode(ids, skip_special_tokens=skips) for ids in lists]

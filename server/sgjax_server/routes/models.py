"""What is served: OpenAI's list of models, SGLang's descriptions of model and server."""

import dataclasses
import re
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

import sgjax
from sgjax.text.role_texts import bos_of, role_texts
from sgjax_server.answers.form import errors
from sgjax_server.answers.native import ModelInfo, ServerInfo
from sgjax_server.answers.openai import Model, ModelList
from sgjax_server.errors import Json
from sgjax_server.protocol import check_model
from sgjax_server.service import Service, ServiceOf

router = APIRouter()


@router.get("/v1/models", response_model=ModelList)
async def list_models(service: ServiceOf) -> Response:
    return Json({"object": "list", "data": [_card(service)]})


@router.get("/v1/models/{name:path}", response_model=Model, responses=errors(404))
async def get_model(name: str, service: ServiceOf) -> Response:
    """A model whose name is a path is found too, though its slashes are made single on the way."""
    served = service.model_name
    check_model(served if _plain(name) == _plain(served) else name, served)
    return Json(_card(service))


def _plain(name: str) -> str:
    return re.sub("/+", "/", name).strip("/")


def _card(service: Service) -> dict[str, Any]:
    return {
        "id": service.model_name,
        "object": "model",
        "created": service.started_at,
        "owned_by": "sgjax",
        "root": service.model_name,
        "parent": None,
        "max_model_len": service.client.info.context_length,
    }


@router.get("/get_model_info", response_model=ModelInfo)
@router.get("/model_info", response_model=ModelInfo)
async def get_model_info(service: ServiceOf) -> Response:
    config, info = service.config, service.client.info
    return Json(
        {
            "model_path": config.model_path,
            "tokenizer_path": config.tokenizer_path or config.model_path,
            "served_model_name": service.model_name,
            "is_generation": info.task == "generate",
            "architecture": info.architecture,
            "context_length": info.context_length,
            "vocab_size": info.vocab_size,
            "preferred_sampling_params": service.default_sampling or None,
            "reads": [],
            "role_texts": _role_texts(service),
        }
    )


def _role_texts(service: Service) -> dict[str, Any] | None:
    template, tokenizer = service.chat_template, service.tokenizer
    if template is None or tokenizer is None:
        return None
    found = role_texts(template, bos=bos_of(tokenizer))
    if found is None:
        return None
    return {"texts": found.texts, "opening": found.opening, "stops": template.stops}


@router.get("/get_server_info", response_model=ServerInfo, responses=errors(503))
@router.get("/server_info", response_model=ServerInfo, responses=errors(503))
@router.get("/get_server_args", response_model=ServerInfo, responses=errors(503))
async def get_server_info(service: ServiceOf) -> Response:
    """Options, engine and counters; never the key."""
    options = dataclasses.asdict(service.config)
    del options["api_key"]
    info, stats = service.client.info, await service.client.stats()
    return Json(
        {
            **options,
            "version": sgjax.__version__,
            "status": "ready" if service.client.is_ready else "serving",
            "max_total_num_tokens": info.max_total_tokens,
            "engine": msgspec.to_builtins(info),
            "stats": msgspec.to_builtins(stats),
        }
    )

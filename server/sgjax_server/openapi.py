"""The OpenAPI document: FastAPI's, with this server's errors, events and key."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from sgjax_server.answers.form import Error, reference
from sgjax_server.answers.messages import AnthropicError, MessageEvent
from sgjax_server.answers.openai import ChatCompletionChunk
from sgjax_server.answers.responses import ResponseEvent
from sgjax_server.anthropic.errors import is_anthropic
from sgjax_server.auth import OPEN_PATHS

_REFS = "#/components/schemas/{model}"
_OTHERS = (ChatCompletionChunk, ResponseEvent, MessageEvent, Error, AnthropicError)
"""Models of streams and errors: routes refer to them, but FastAPI is not told."""
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
"""Where a key may stand: one of them is enough."""


def document(app: FastAPI, *, has_key: bool) -> dict[str, Any]:
    """The document of an app's routes. `has_key`: all but the probes need one."""
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = found["components"]["schemas"]
    _, others = models_json_schema(
        [(model, "serialization") for model in _OTHERS], ref_template=_REFS
    )
    schemas.update(others["$defs"])
    for path, methods in found["paths"].items():
        for operation in methods.values():
            operation["responses"].pop("422", None)  # what FastAPI would say is a 400 here
            if has_key and path not in OPEN_PATHS:
                operation["responses"]["401"] = _unauthorized(path)
                operation["security"] = [{scheme: []} for scheme in _KEYS]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    if has_key:
        found["components"]["securitySchemes"] = _KEYS
    return _exact(found)


def _unauthorized(path: str) -> dict[str, Any]:
    schema = reference((AnthropicError if is_anthropic(path) else Error).__name__)
    content = {"application/json": {"schema": schema}}
    return {"description": "The API key is missing or wrong.", "content": content}


def _exact(value: Any) -> Any:
    """Whole numbers as integers again: FastAPI's model of a schema keeps all bounds as floats."""
    if isinstance(value, dict):
        return {name: _exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return min(int(value), 2**63 - 1)  # as a float this one is 2**63
    return value

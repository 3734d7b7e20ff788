"""Every error as OpenAI's clients read it: `{"error": {message, type, param, code}}`.

On Anthropic's routes it is as Anthropic's clients read it.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import Response

from sgjax.errors import InvalidRequest, RequestError, SgjaxError
from sgjax_server.anthropic.errors import anthropic_form, is_anthropic
from sgjax_server.kinds import is_tag

logger = logging.getLogger("sgjax.server")

RETRY_AFTER_S = 1


class Json(Response):
    """A JSON answer, written by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class Unsupported(InvalidRequest):
    """A field that OpenAI or SGLang knows, with a value that this server cannot serve (yet)."""

    code = "unsupported_parameter"


class NotReady(SgjaxError):
    """The server is not as far as it was asked for."""

    status = 503
    type = "server_error"
    code = "not_ready"


class ClientGone(Exception):
    """The client closed its connection before there was an answer."""


class BodyError(HTTPException):
    """A body that was not read: too large, or no JSON by its content type."""

    def __init__(self, status: int, message: str, code: str):
        super().__init__(status, message)
        self.code = code


_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
_HTTP_HINTS = {
    404: "No such route. GET /openapi.json lists them.",
    405: "This route does not take that method; the Allow header names those it takes.",
}


def error_body(error: Exception) -> dict[str, Any]:
    """The body for an error. What was not raised on purpose is told no details of."""
    if isinstance(error, SgjaxError):
        return _body(
            str(error),
            getattr(error, "type", "server_error"),
            getattr(error, "param", None),
            getattr(error, "code", None),
        )
    return _body(
        "The server made a mistake; its log has the details. Please report it.",
        "server_error",
        None,
        "internal_error",
    )


def error_response(error: Exception, path: str) -> Json:
    """The answer of a route, whose path says in which form."""
    status = getattr(error, "status", 500)
    headers = {"retry-after": str(RETRY_AFTER_S)} if status in (429, 503) else None
    return _answer(error_body(error), status, headers, path)


def unauthorized(path: str) -> Json:
    body = _body(
        # litellm knows the error by these words of OpenAI's.
        "Incorrect API key provided, or none: send the right one in the header 'Authorization: "
        "Bearer KEY' or 'x-api-key: KEY'.",
        RequestError.type,
        None,
        "invalid_api_key",
    )
    return _answer(body, 401, {"www-authenticate": "Bearer"}, path)


def _answer(
    body: dict[str, Any], status: int, headers: Mapping[str, str] | None, path: str
) -> Json:
    return Json(anthropic_form(body, status) if is_anthropic(path) else body, status, headers)


def install(app: FastAPI) -> None:
    """Gives the app's errors their one shape."""
    app.add_exception_handler(SgjaxError, _on_sgjax)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(StarletteHTTPException, _on_http)
    app.add_exception_handler(ClientGone, _on_client_gone)


async def _on_sgjax(request: Request, error: Exception) -> Response:
    return error_response(error, request.url.path)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(as_invalid_request(error.errors()), request.url.path)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    status = error.status_code
    message = _HTTP_HINTS.get(status, error.detail)
    code = getattr(error, "code", None) or _HTTP_CODES.get(status)
    kind = RequestError.type if status < 500 else "server_error"
    return _answer(_body(message, kind, None, code), status, error.headers, request.url.path)


async def _on_client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


def as_invalid_request(problems: Sequence[Any]) -> InvalidRequest:
    """What pydantic found, of the first field that is wrong, in a sentence."""
    if any(problem["type"] == "json_invalid" for problem in problems):
        detail = problems[0].get("ctx", {}).get("error", "")
        return InvalidRequest(f"The body is not valid JSON: {detail}.")
    path = _path(problems[0])
    if not path:
        return InvalidRequest("The body must be a JSON object.")
    messages = [_sentence(problem) for problem in problems if _path(problem)[:1] == path[:1]]
    where = path if len(messages) == 1 else path[:1]
    text = "; or: ".join(dict.fromkeys(messages))
    return InvalidRequest(f"{'.'.join(where)}: {text}.", param=path[0])


def _path(problem: Any) -> list[str]:
    parts = [str(part) for part in problem["loc"] if part != "body"]
    return [part for part in parts if not is_tag(part)]


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    found = problem.get("input")
    if problem["type"] == "missing":
        within, name = _path(problem)[:-1], _path(problem)[-1]
        return f"{name!r} is required" if within else message
    if not isinstance(found, str | int | float | None):
        return message
    shown = repr(found) if len(repr(found)) <= 60 else repr(found)[:57] + "..."
    return f"{message}, not {shown}"


def _body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}

"""The FastAPI app, made from what it serves; nothing of it is global."""

import functools
import logging
import re

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import sgjax
from sgjax.config import ServeConfig
from sgjax.engine.client import EngineClient
from sgjax.text import ChatTemplate, Tokenizer
from sgjax_server import errors
from sgjax_server.auth import BearerAuth, SingleSlashes
from sgjax_server.batches.gate import Gate
from sgjax_server.batches.registry import Batches
from sgjax_server.in_process import asks
from sgjax_server.metrics import Metrics
from sgjax_server.openapi import document
from sgjax_server.routes import (
    admin,
    batches,
    embeddings,
    files,
    health,
    messages,
    models,
    native,
    openai_chat,
    openai_completions,
    parsing,
    responses,
    scoring,
    tokens,
)
from sgjax_server.service import Service
from sgjax_server.sse import PAST_MIDDLEWARE

logger = logging.getLogger("sgjax.server")


_ROUTES = (
    native,
    openai_completions,
    openai_chat,
    responses,
    messages,
    embeddings,
    scoring,
    tokens,
    parsing,
    files,
    batches,
    models,
    health,
    admin,
)


def create_app(
    client: EngineClient,
    config: ServeConfig,
    tokenizer: Tokenizer | None,
    chat_template: ChatTemplate | None,
) -> FastAPI:
    """An app for an engine that serves. `app.state.service` is what its routes share.

    Without a tokenizer (skip_tokenizer_init) only /generate works, on token ids.
    """
    app = FastAPI(title="sgjax", version=sgjax.__version__, docs_url=None, redoc_url=None)
    service = app.state.service = Service(client, config, tokenizer, chat_template)
    errors.install(app)
    for module in _ROUTES:
        app.include_router(module.router)
    app.openapi = functools.cache(lambda: document(app, has_key=config.api_key is not None))
    service.batches = Batches(service.files, _gate(service), asks(app, config.api_key))
    # The one added last is passed first.
    if config.api_key is not None:
        app.add_middleware(BearerAuth, api_key=config.api_key)
    app.add_middleware(SingleSlashes)
    app.add_middleware(Edge, metrics=service.metrics)
    return app


def _gate(service: Service) -> Gate:
    """Batches get half of what the engine computes at a time, at most."""
    at_a_time = service.client.info.max_running_requests
    return Gate(max(1, at_a_time // 2), lambda: service.generator.num_live >= at_a_time)


class Edge:
    """The edge of the app: counts answers by route and status, and answers for what broke within.

    It is here that a fault is logged and ends, since uvicorn cuts the connection of an app that
    raises, and with it the next request of the same client.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[PAST_MIDDLEWARE] = send
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            if status:
                raise
            logger.exception("A request failed.")
            await errors.error_response(error, scope["path"])(scope, receive, note)
        finally:
            self._metrics.http_requests.labels(_route_of(scope), status).inc()


def _route_of(scope: Scope) -> str:
    """The pattern of the route, so that the number of labels is bounded."""
    path = getattr(scope.get("route"), "path", None)
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path) if path else "unknown"

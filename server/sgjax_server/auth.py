"""What every request passes before the routes: the API key, and doubled slashes made single."""

import hmac
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sgjax_server.errors import unauthorized

OPEN_PATHS = frozenset({"/health", "/health/ready"})
"""Probes ask these without a key; they tell nothing but a state."""


class SingleSlashes:
    """`/v1//models` is what a base URL that ends in a slash makes of `/v1/models`."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "//" in scope["path"]:
            scope = {**scope, "path": re.sub("/+", "/", scope["path"])}
        await self._app(scope, receive, send)


class BearerAuth:
    """Lets nothing by without the key, whatever the route, but the probes. It comes as a Bearer,
    or as Anthropic's clients send it: x-api-key."""

    def __init__(self, app: ASGIApp, api_key: str):
        self._app = app
        self._key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or self._has_key(scope):
            await self._app(scope, receive, send)
        else:
            await unauthorized(scope["path"])(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        kind, _, key = headers.get("authorization", "").partition(" ")
        is_bearer = self._is_key(key.strip()) and kind.lower() == "bearer"
        return is_bearer or self._is_key(headers.get("x-api-key", ""))

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("latin-1"), self._key)

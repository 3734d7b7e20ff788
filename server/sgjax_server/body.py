"""Request bodies: JSON only, of a bounded size, and strict (no NaN, no Infinity, no surrogates)."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from sgjax.errors import InvalidRequest
from sgjax_server.constraints import RENAMED, as_said
from sgjax_server.errors import BodyError

MAX_BODY_BYTES = 32 * 2**20


class StrictRequest(Request):
    """A request whose body is checked while it is read."""

    async def body(self) -> bytes:
        if not hasattr(self, "_checked_body"):
            self._check_content_type()
            self._checked_body = await self._read()
        return self._checked_body

    async def json(self) -> Any:
        """Raises orjson.JSONDecodeError, which is a json.JSONDecodeError: FastAPI knows it."""
        return orjson.loads(await self.body())

    def _check_content_type(self) -> None:
        kind = self.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise BodyError(
                415,
                f"The body must be JSON, sent with 'Content-Type: application/json', not {kind!r}.",
                "unsupported_media_type",
            )

    async def _read(self) -> bytes:
        announced = self.headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
            raise _too_large()
        parts, size = [], 0
        async for part in self.stream():
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            parts.append(part)
        return b"".join(parts)


def _too_large() -> BodyError:
    limit = MAX_BODY_BYTES // 2**20
    return BodyError(
        413, f"The body is larger than {limit} MiB, the most that is read.", "too_large"
    )


class StrictRoute(APIRoute):
    """A route whose handler sees a StrictRequest. Its errors name fields as the client did."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            checked = StrictRequest(request.scope, request.receive)
            try:
                return await handler(checked)
            except InvalidRequest as error:
                if error.param not in RENAMED:
                    raise
                raise as_said(error, await checked.json()) from None

        return strict

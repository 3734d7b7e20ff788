"""The app's own routes, asked from within: what a batch's line gets is what a client would."""

import httpx
from starlette.types import ASGIApp

from sgjax_server.batches.run import Answer, Ask


def asks(app: ASGIApp, api_key: str | None) -> Ask:
    """Asks routes of this app. Cancelling a call ends it, as a client that goes away does."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers: dict[bytes, bytes] = {b"content-type": b"application/json"}
    if api_key is not None:
        headers[b"authorization"] = b"Bearer " + api_key.encode()

    async def ask(path: str, body: bytes) -> Answer:
        request = httpx.Request("POST", f"http://batch{path}", content=body, headers=headers)
        response = await transport.handle_async_request(request)
        return Answer(response.status_code, await response.aread())

    return ask

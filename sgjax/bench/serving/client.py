"""An HTTP client that times streams, and takes little time itself."""

import time
import urllib.parse
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import orjson

from sgjax.bench.extras import import_extra
from sgjax.bench.serving.forms import Form
from sgjax.bench.serving.outcome import Outcome
from sgjax.errors import BenchmarkFailed, ConfigError

aiohttp = import_extra("aiohttp")

CONNECT_S = 10.0
"""A server that does not take a connection within this is dead."""


class ServerClient:
    """Asks one server, with one connection a request under way. Belongs to an asyncio loop."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout_s: float = 600.0):
        """`timeout_s`: how long a stream may be silent.

        Raises:
            ConfigError: `url` is no address of a server.
        """
        self._url = _root(url)
        headers = {"content-type": "application/json"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout_s),
            read_bufsize=1 << 20,
        )

    async def __aenter__(self) -> "ServerClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def stream(
        self, form: Form, body: Mapping[str, Any], on_begin: Callable[[Outcome], None] | None = None
    ) -> Outcome:
        """Asks, and reads the answer to its end. What goes wrong is told by `error`. `on_begin`
        gets the outcome, which grows meanwhile."""
        data = orjson.dumps(body)
        outcome = Outcome(begin=time.perf_counter())
        if on_begin is not None:
            on_begin(outcome)
        try:
            async with self._session.post(self._url + form.path, data=data) as response:
                if response.status == 200:
                    await _read(response, form, outcome)
                else:
                    outcome.fail(_refusal(response.status, await response.text()))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome.fail(f"{type(error).__name__}: {error}".removesuffix(": "))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            outcome.fail(f"an event that is not of {form.path}: {type(error).__name__}: {error}")
        outcome.end = time.perf_counter()
        return outcome

    async def get(self, path: str) -> Any:
        """A JSON answer, or None where the server has none at that path.

        Raises:
            BenchmarkFailed: the server does not answer at all.
        """
        try:
            async with self._session.get(self._url + path) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._silence(error) from None
        try:
            return orjson.loads(body) if response.status == 200 else None
        except orjson.JSONDecodeError:
            return None

    async def flush_cache(self) -> None:
        """Empties the server's prefix cache.

        Raises:
            BenchmarkFailed: it cannot be emptied.
        """
        try:
            async with self._session.post(f"{self._url}/flush_cache") as response:
                if response.status != 200:
                    refusal = _refusal(response.status, await response.text())
                    raise BenchmarkFailed(f"The server's cache was not flushed: {refusal}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._silence(error) from None

    def _silence(self, error: Exception) -> BenchmarkFailed:
        why = str(error) or type(error).__name__
        return BenchmarkFailed(
            f"The server at {self._url} does not answer: {why}. Is it running, and is the address "
            "right?"
        )


def _root(url: str) -> str:
    """The address without a slash or /v1 at its end."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--url must be like http://127.0.0.1:30000, not {url!r}.")
    return url.rstrip("/").removesuffix("/v1")


async def _read(response: Any, form: Form, outcome: Outcome) -> None:
    """Takes a stream of events as it comes; it must say its end."""
    tail, is_done = b"", False
    async for data in response.content.iter_any():
        now = time.perf_counter()
        if b"\r" in data:  # some servers end lines so; JSON has none of its own
            data = data.replace(b"\r", b"")
        *events, tail = (tail + data).split(b"\n\n")
        for event in events:
            if not event.startswith(b"data:"):
                continue
            payload = event[5:].strip()
            if payload == b"[DONE]":
                is_done = True
            else:
                form.read(payload, now, outcome)
    form.finish(outcome)
    if not is_done:
        outcome.fail("the stream ended before its end was said ([DONE])")
    elif not outcome.times:
        outcome.fail("the answer has no token")


def _refusal(status: int, text: str) -> str:
    """What a server says that does not do what it was asked for."""
    try:
        found = orjson.loads(text)
        error = found.get("error", found)
        message = error["message"] if isinstance(error, dict) else str(error)
    except (orjson.JSONDecodeError, AttributeError, KeyError):
        message = text.strip()
    return f"status {status}: {message[:300]}"

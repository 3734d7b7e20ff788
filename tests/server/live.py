"""A real server on a free port, in a thread, in front of the fake engine."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from sgjax_server.app import create_app
from sgjax_server.run import open_socket
from sgjax_server.service import Service

from sgjax.config import ServeConfig
from tests.front.fakes import FakeEngineClient, byte_tokenizer, chat_template

TEXT = "The text that the fake model recites: äöü 👋."


class Live:
    """What tests know of a running server."""

    def __init__(self, client: FakeEngineClient, app: FastAPI, url: str):
        self.client = client
        self.app = app
        self.service: Service = app.state.service
        self.url = url

    def wait_until(self, holds: Callable[[], Any], what: str) -> None:
        wait_until(holds, what)

    def wait_for_requests(self, count: int) -> None:
        self.wait_until(lambda: len(self.client.live) >= count, f"{count} requests under way")

    def wait_for_quiet(self) -> None:
        """Nothing is under way, in the front or in the engine."""
        self.wait_until(
            lambda: not self.client.live and self.service.generator.num_live == 0, "quiet"
        )


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serves an app on a free port, in a thread; its address."""
    listener = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=asyncio.run, args=[_serve(server, listener, app)])
    thread.start()
    try:
        wait_until(lambda: server.started, "a start")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


async def _serve(server: uvicorn.Server, listener: socket.socket, app: FastAPI) -> None:
    app.state.loop = asyncio.get_running_loop()
    try:
        await server.serve(sockets=[listener])
    finally:
        await app.state.service.close()


def wait_until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.002)


@contextmanager
def live(
    client: FakeEngineClient | None = None, *, without_tokenizer: bool = False, **options: Any
) -> Iterator[Live]:
    """Options are ServeConfig's. Fails if something is still under way at the end."""
    client = client or FakeEngineClient(TEXT)
    config = ServeConfig(model_path="fake", **options)
    tokenizer = None if without_tokenizer else byte_tokenizer()
    template = None if without_tokenizer else chat_template()
    app = create_app(client, config, tokenizer, template)
    with serving(app) as url:
        found = Live(client, app, url)
        yield found
        found.wait_for_quiet()

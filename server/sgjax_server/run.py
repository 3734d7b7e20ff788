"""Serving: start the engine, listen, and stop cleanly."""

import asyncio
import errno
import gc
import ipaddress
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop
from rich.console import Console

from sgjax.config import ServeConfig
from sgjax.engine.client import EngineClient
from sgjax.engine.ipc_client import IpcClient
from sgjax.engine.messages import Event
from sgjax.errors import ConfigError, SgjaxError
from sgjax.front.files import chat_template_of, tokenizer_of
from sgjax.progress import start_progress

if TYPE_CHECKING:
    from sgjax_server.service import Service

logger = logging.getLogger("sgjax.server")

StartClient = Callable[[ServeConfig, Callable[[Event], None]], Awaitable[EngineClient]]

_BACKLOG = 2048
_KEEP_ALIVE_S = 30
_LAST_WRITES_S = 3
"""How long answers that are complete may take to be read when the server stops."""


def serve(config: ServeConfig, start_client: StartClient = IpcClient.start) -> int:
    """Serves until a signal comes; the exit status.

    SIGTERM and SIGINT drain: nothing new is taken (503), what runs has drain_timeout_s to end, and
    the status is 0. A second signal stops at once, with status 1.

    Raises:
        ConfigError: the port is taken, or the model cannot be served with these options.
    """
    _configure_logging(config)
    open_socket(config.host, config.port).close()  # said now, not after the weights are loaded
    if config.api_key is None and not _is_loopback(config.host):
        logger.warning(
            "Anyone who reaches %s can use this server. Set --api-key, or --host 127.0.0.1.",
            config.host,
        )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(config, start_client))


async def _serve(config: ServeConfig, start_client: StartClient) -> int:
    with start_progress(Console(file=sys.stderr)) as on_event:
        starting = asyncio.ensure_future(start_client(config, on_event))
        try:
            make_app = await asyncio.to_thread(_prepare_app, config)
        except BaseException:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            raise
        client = await starting
    try:
        app = make_app(client)
        service: Service = app.state.service
        try:
            server = Server(app, service)
            await server.serve(sockets=[open_socket(config.host, config.port)])
        finally:
            await service.close()
        return int(server.force_exit)
    finally:
        await client.close()


def _prepare_app(config: ServeConfig) -> Callable[[EngineClient], Any]:
    """What can be done while the engine starts: FastAPI is imported, text files are read."""
    from sgjax_server.app import create_app

    tokenizer, chat_template = tokenizer_of(config), chat_template_of(config)
    return lambda client: create_app(client, config, tokenizer, chat_template)


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} of {host} is taken. Choose another with --port, or stop what "
                "listens there."
            ) from None
        raise ConfigError(
            f"This machine cannot listen on {host}, port {port}: {error}. Choose others with "
            "--host and --port."
        ) from None
    # Connections inherit it. Loops set it only on sockets that were made with TCP's number, which
    # this one was not; without it each answer waits 40 ms for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Server(uvicorn.Server):
    """uvicorn, but a signal drains before it stops."""

    def __init__(self, app: Any, service: "Service"):
        config = service.config
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_LAST_WRITES_S,
                access_log=logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO),
            )
        )
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._timeout_s = config.drain_timeout_s
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        from sgjax_server.ready_screen import show_ready

        await super().startup(sockets)
        show_ready(self._service)
        gc.freeze()  # what is there now stays: no collection need look at it

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.is_draining:
            self.should_exit = self.force_exit = True
        else:
            self._service.is_draining = True
            self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        self._drain = self._loop.create_task(self._stop_when_drained())

    async def _stop_when_drained(self) -> None:
        generator = self._service.generator
        await self._service.batches.stop()
        logger.info("Stopping: %d requests may finish.", generator.num_live)
        deadline = self._loop.time() + self._timeout_s
        while generator.num_live and self._loop.time() < deadline:
            await asyncio.sleep(0.02)
        if generator.num_live:
            logger.warning(
                "%d requests did not finish within %g s and are aborted.",
                generator.num_live,
                self._timeout_s,
            )
            await self._abort_all()
        self.should_exit = True

    async def _abort_all(self) -> None:
        try:
            await self._service.generator.abort(None)
        except SgjaxError as error:
            logger.warning("They cannot be aborted: %s", error)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _configure_logging(config: ServeConfig) -> None:
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    http_level = (config.log_level_http or config.log_level).upper()
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(http_level)

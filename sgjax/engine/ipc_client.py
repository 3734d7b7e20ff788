"""An engine in a process of its own, spoken to over two local sockets."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Self

import zmq

from sgjax import errors
from sgjax.config import ServeConfig
from sgjax.engine import messages
from sgjax.engine.messages import Command, Event, Failed, Serving, Shutdown
from sgjax.engine.process import COMMANDS, EVENTS, address
from sgjax.engine.session import Session

ENGINE = ("-m", "sgjax.engine.process")
"""What Python runs as an engine, with a folder for the sockets as its last argument."""

_WATCH_S = 0.2
_LAST_WORDS_S = 0.5
"""How long what a process said before it ended may take to get here."""
_STOP_S = 10.0


class IpcClient(Session):
    """EngineClient for an engine process. Its death is noticed within a second."""

    def __init__(
        self,
        config: ServeConfig,
        on_event: Callable[[Event], None] | None,
        engine: Sequence[str] = ENGINE,
    ):
        super().__init__(self._send_command)
        self._on_event = on_event
        # mkdtemp makes a folder that only this user may enter.
        self._folder = tempfile.mkdtemp(prefix="sgjax-")
        self._context = zmq.Context()
        # High-water marks of 0: nothing is dropped and nobody blocks; requests are what is bounded.
        # A connecting PUSH keeps what is sent before the other side is there.
        self._commands = self._context.socket(zmq.PUSH)
        self._commands.set_hwm(0)
        self._commands.connect(address(self._folder, COMMANDS))
        self._events = self._context.socket(zmq.PULL)
        self._events.set_hwm(0)
        self._events.bind(address(self._folder, EVENTS))
        self._encoder = messages.encoder()
        self._process = subprocess.Popen(
            [sys.executable, *engine, self._folder], stdin=subprocess.PIPE
        )
        self._send_command(config)
        loop = asyncio.get_running_loop()
        self._start: asyncio.Future[Serving | Failed] = loop.create_future()
        self._decoder = messages.decoder(list[Event])
        loop.add_reader(self._events.fileno(), self._listen)
        self._watching = loop.create_task(self._watch())
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        config: ServeConfig,
        on_event: Callable[[Event], None] | None = None,
        engine: Sequence[str] = ENGINE,
    ) -> Self:
        """Starts an engine process and waits until it serves; see LocalClient.start."""
        client = cls(config, on_event, engine)
        try:
            result = await client._start
        except BaseException:
            await client.close()
            raise
        if isinstance(result, Failed):
            await client.close()
            raise (errors.ConfigError if result.config else errors.EngineDead)(result.message)
        return client

    @property
    def pid(self) -> int:
        return self._process.pid

    def die(self, reason: str) -> None:
        super().die(reason)
        if not self._start.done():
            self._start.set_result(Failed(reason))

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if not hasattr(self, "info"):
            self._process.kill()  # it is starting, and has nothing to end well
        elif self._process.poll() is None:
            self._send_command(Shutdown())
        await self._wait_for_exit()
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        self._listen()
        asyncio.get_running_loop().remove_reader(self._events.fileno())
        self.die("The engine was shut down.")
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        for socket in (self._commands, self._events):
            socket.close(linger=0)
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _wait_for_exit(self) -> None:
        """Lets the process end by itself; after a while it is killed."""
        deadline = asyncio.get_running_loop().time() + _STOP_S
        while self._process.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                self._process.kill()
            await asyncio.sleep(0.02)

    def _send_command(self, command: Command | ServeConfig) -> None:
        self._commands.send(self._encoder.encode(command), zmq.NOBLOCK)

    def _listen(self) -> None:
        """Takes all there is: the socket tells only once that there is something."""
        with contextlib.suppress(zmq.Again):
            while True:
                self._hear(self._decoder.decode(self._events.recv(zmq.NOBLOCK)))

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Serving | Failed) and not self._start.done():
                self._start.set_result(event)
            if self._on_event is not None:
                self._on_event(event)
        self.receive(events)

    async def _watch(self) -> None:
        while (code := self._process.poll()) is None:
            await asyncio.sleep(_WATCH_S)
        await asyncio.sleep(_LAST_WORDS_S)
        self.die(f"The engine process ended unexpectedly (exit status {code}).")

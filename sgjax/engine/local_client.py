"""An engine in a thread of this process."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Self

from sgjax import errors
from sgjax.config import ServeConfig
from sgjax.engine.messages import Command, Event, Failed, Serving, Shutdown
from sgjax.engine.session import Session

_JOIN_S = 30.0


class LocalClient(Session):
    """EngineClient for an engine thread. Belongs to the asyncio loop that calls it first."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        super().__init__(self._inbox.put)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def start(
        cls,
        config: ServeConfig,
        on_event: Callable[[Event], None] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Self:
        """Starts an engine and waits until it serves. `on_event` hears of its start's progress.

        `loop` is the one that will call the client; None: the running one, or the first that calls.

        Raises:
            ConfigError: for options or a checkpoint that cannot be served with.
            EngineDead: where the start failed otherwise.
        """
        client = cls()
        client._loop = loop or _running_loop()
        outcome: queue.SimpleQueue[Serving | Failed] = queue.SimpleQueue()

        def send(events: list[Event]) -> None:
            for event in events:
                if on_event is not None:
                    on_event(event)
                if isinstance(event, Serving | Failed):
                    outcome.put(event)
            client._deliver(events)

        def work() -> None:
            try:
                from sgjax.engine.engine import run_engine  # imports JAX
            except Exception as error:  # the thread's edge: whoever started it waits to hear
                send([Failed(f"The engine cannot be imported: {type(error).__name__}: {error}")])
                return
            run_engine(config, client._inbox, send)

        client._thread = threading.Thread(target=work, name="sgjax-engine", daemon=True)
        client._thread.start()
        try:
            result = outcome.get()
        except BaseException:  # Ctrl-C: nobody will ever ask it
            client._inbox.put(Shutdown())
            raise
        if isinstance(result, Failed):
            client._thread.join()
            raise (errors.ConfigError if result.config else errors.EngineDead)(result.message)
        client.info = result.info
        return client

    def _deliver(self, events: list[Event]) -> None:
        """Hands events over to the client's loop; before there is one, only flags can change."""
        loop = self._loop
        if loop is None:
            self.receive(events)
            return
        try:
            loop.call_soon_threadsafe(self.receive, events)
        except RuntimeError:  # the loop was closed: nobody listens any more
            self.receive([event for event in events if isinstance(event, Failed)])

    def _enter(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        super()._enter()

    async def close(self) -> None:
        thread = self._thread
        if thread is None:
            return
        self._inbox.put(Shutdown())
        self._thread = None
        # Not in the loop's executor: when Python ends, that has ended before this is called.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _JOIN_S
        while thread.is_alive() and loop.time() < deadline:
            await asyncio.sleep(0.005)
        self.die("The engine was shut down.")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

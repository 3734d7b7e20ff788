"""The engine's own process: `python -m sgjax.engine.process FOLDER`, started by IpcClient.

Two sockets in a folder that only this user may read: commands come in, lists of events go out, both
msgpack. Standard input is the parent's hand: when it closes, the parent is gone, and so are we.
"""

import contextlib
import gc
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable

import msgspec
import zmq

from sgjax.config import ServeConfig
from sgjax.engine import messages
from sgjax.engine.messages import Command, Event, Ready

COMMANDS, EVENTS = "commands", "events"

Send = Callable[[list[Event]], None]


def main(folder: str, run: Callable[..., None] | None = None) -> None:
    """Runs an engine (`run`: instead of run_engine) until it is told to stop, or the parent is
    gone."""
    # Ctrl-C in a terminal reaches the whole group; stopping is the parent's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # A context each, so that the last words can be waited for while the other socket is read.
    last_words = zmq.Context()
    commands, events = zmq.Context().socket(zmq.PULL), last_words.socket(zmq.PUSH)
    for socket in (commands, events):
        socket.set_hwm(0)
    commands.bind(address(folder, COMMANDS))
    events.connect(address(folder, EVENTS))
    events.linger = 1000
    config = msgspec.msgpack.decode(commands.recv(), type=ServeConfig)
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # JAX says at its INFO which backends a machine does not have.
    logging.getLogger("jax").setLevel(max(logging.WARNING, logging.getLogger().level))
    inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(commands, inbox), daemon=True).start()

    encoder = messages.encoder()
    sending = threading.Lock()

    def send(batch: list[Event]) -> None:
        with sending:
            events.send(encoder.encode(batch))
        if any(isinstance(event, Ready) for event in batch):
            # What is there now stays: a collection would look at all of it, for 100 ms and more.
            gc.freeze()

    if run is None:
        from sgjax.engine.engine import run_engine as run  # imports JAX

    run(config, inbox, send, wait=False)
    with sending:
        events.close()
        last_words.term()  # waits until they are sent, for as long as they may linger
    sys.stderr.flush()
    os._exit(0)  # the receiving thread would never end


def address(folder: str, name: str) -> str:
    return f"ipc://{folder}/{name}"


def _receive(socket: zmq.Socket, inbox: "queue.SimpleQueue[Command]") -> None:
    decoder = messages.decoder(Command)
    while True:
        inbox.put(decoder.decode(socket.recv()))


def _die_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])

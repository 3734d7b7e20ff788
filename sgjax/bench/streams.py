"""What a stream costs the front: the server as it is, before an engine process that recites.

    python -m sgjax.bench.streams [--form generate ids chat completions] [--streams 256]
                                  [--interval-ms 24] [--tokens 512]

Every request streams; its engine makes a token every `--interval-ms`. "µs a token" is the processor
time of the server's process, all told: messages, text, events, HTTP, the socket. Tokens that the
server had no time to send one by one share an event; then it is slower than the engine, and the
figure says too little.
"""

import argparse
import contextlib
import functools
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from sgjax.config import ServeConfig

WARM_UP = 64
"""Tokens before the clock starts, and as many after it ends."""
READ_EVERY_S = 0.005
PROMPT = list(range(1000, 1032))
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "generate": ("/generate", {"input_ids": PROMPT}),
    "ids": ("/generate", {"input_ids": PROMPT}),
    "completions": ("/v1/completions", {"prompt": PROMPT}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Recite."}]}),
}
"""Path and body of each form; "ids" is /generate without a tokenizer."""


class Reader:
    """Streams that are read together; counts their events."""

    def __init__(self, port: int, request: bytes, count: int):
        self.num_events = 0
        self._num_open = count
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", port))
            stream.sendall(request)
            stream.setblocking(False)
            self._selector.register(stream, selectors.EVENT_READ)

    def read_until(self, num_events: int) -> None:
        """Reads until so many events have come in all, or all streams have ended, but seldom: a
        reader who sleeps until each event comes would have the server's writes pay for waking
        them."""
        while self.num_events < num_events and self._num_open:
            time.sleep(READ_EVERY_S)
            for key, _ in self._selector.select():
                stream: Any = key.fileobj
                data = stream.recv(1 << 20)
                if not data:
                    raise SystemExit("The server closed a stream before its end.")
                self.num_events += data.count(b"\n\n")
                self._num_open -= data.count(b"data: [DONE]")

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


def measure(
    form: str, num_streams: int, num_tokens: int, interval_ms: float
) -> tuple[float, float]:
    """Processor time a token in µs, and tokens that came in a second."""
    with _server(form, num_streams, interval_ms) as (port, pid):
        reader = Reader(port, _request(form, num_tokens), num_streams)
        reader.read_until(num_streams * WARM_UP)
        first, start, cpu = reader.num_events, time.perf_counter(), _cpu_seconds(pid)
        reader.read_until(num_streams * (num_tokens - WARM_UP))
        count = max(reader.num_events - first, 1)
        seconds, cpu = time.perf_counter() - start, _cpu_seconds(pid) - cpu
        reader.close()
    return cpu / count * 1e6, count / seconds


@contextlib.contextmanager
def _server(form: str, num_streams: int, interval_ms: float) -> Iterator[tuple[int, int]]:
    """A server that listens: its port and its process."""
    port = _free_port()
    command = [sys.executable, "-m", "sgjax.bench.streams", "--serve", str(port), "--form", form]
    command += ["--streams", str(num_streams), "--interval-ms", str(interval_ms)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        try:
            while not _listens(port):
                if server.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"The server ended:\n{log.read().decode()}")
                time.sleep(0.05)
            yield port, server.pid
        finally:
            server.terminate()


def _request(form: str, num_tokens: int) -> bytes:
    path, body = BODIES[form]
    if path == "/generate":
        body = body | {"sampling_params": {"max_new_tokens": num_tokens}}
    else:
        body = body | {"max_tokens": num_tokens}
    content = json.dumps(body | {"stream": True}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _serve(port: int, form: str, num_streams: int, interval_ms: float) -> int:
    from sgjax_server.run import serve

    from sgjax.engine.ipc_client import IpcClient

    engine = ("-m", "sgjax.bench.recital", str(interval_ms))
    config = ServeConfig(
        model_path="demo",
        port=port,
        skip_tokenizer_init=form == "ids",
        max_running_requests=num_streams,
        log_level="error",
        drain_timeout_s=0.1,
    )
    return serve(config, functools.partial(IpcClient.start, engine=engine))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--form", nargs="+", choices=list(BODIES), default=list(BODIES))
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--interval-ms", type=float, default=24.0)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        sys.exit(_serve(options.serve, options.form[0], options.streams, options.interval_ms))
    pace = options.streams / options.interval_ms * 1e3
    print(f"{options.streams} streams of {options.tokens} tokens; the engine makes {pace:.0f}/s")
    for form in options.form:
        cost, rate = measure(form, options.streams, options.tokens, options.interval_ms)
        print(
            f"  {form:12} {cost:6.1f} µs a token: {1e6 / cost:7.0f}/s a core   ({rate:.0f}/s came)"
        )


if __name__ == "__main__":
    main()

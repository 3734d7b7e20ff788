"""Serving as a process: the port, the ready screen, signals."""

import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from rich.console import Console
from sgjax_server.ready_screen import show_ready
from sgjax_server.run import open_socket, serve
from sgjax_server.service import Service

from sgjax.config import ServeConfig
from sgjax.errors import ConfigError
from tests.front.fakes import FakeEngineClient, byte_tokenizer, chat_template
from tests.server.served import TEXT

BODY = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}


class Process:
    """A server process, and a stream that runs in it."""

    def __init__(self, popen: subprocess.Popen[str], url: str):
        self.popen = popen
        self.url = url
        self.text = ""
        self.reason: str | None = None
        self.started = threading.Event()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        assert self.started.wait(10)

    def _read(self) -> None:
        try:
            with httpx.stream("POST", f"{self.url}/v1/chat/completions", json=BODY) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        self._take(json.loads(line.removeprefix("data: ")))
        except httpx.TransportError:
            self.reason = "cut"

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            self.reason = chunk["error"]["code"]
            return
        (choice,) = chunk["choices"]
        self.text += choice["delta"].get("content", "")
        self.reason = choice["finish_reason"]
        if self.text:
            self.started.set()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        self.reader.join(10)
        return self.popen.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def serving(delay_s: float, drain_s: float) -> Iterator[Process]:
    port = free_port()
    command = [sys.executable, "-m", "tests.server.served", str(port), str(delay_s), str(drain_s)]
    popen = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert popen.stderr is not None
    lines = []
    rest = threading.Thread(target=popen.stderr.read)  # what it logs later must not fill the pipe
    try:
        for line in popen.stderr:
            lines.append(line)
            if line.startswith("try: "):
                break
        assert f"url: http://127.0.0.1:{port}\n" in lines, lines
        rest.start()
        yield Process(popen, f"http://127.0.0.1:{port}")
    finally:
        popen.kill()
        popen.wait()
        rest.join()
        popen.stderr.close()


def test_a_signal_lets_streams_finish_and_refuses_new_ones() -> None:
    with serving(0.02, 30) as process:
        process.signal()
        deadline = time.monotonic() + 5
        while (answer := httpx.get(f"{process.url}/health/ready")).status_code == 200:
            assert time.monotonic() < deadline
        assert answer.json()["error"]["code"] == "draining"
        refused = httpx.post(f"{process.url}/v1/chat/completions", json=BODY)
        assert refused.status_code == 503
        assert process.wait() == 0
        assert (process.text, process.reason) == (TEXT, "stop")


def test_what_does_not_finish_in_time_is_aborted() -> None:
    with serving(0.1, 0.2) as process:
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.reason == "abort"
        assert TEXT.startswith(process.text) and len(process.text) < len(TEXT)


def test_a_second_signal_stops_now() -> None:
    with serving(0.2, 30) as process:
        start = time.monotonic()
        process.signal()
        while httpx.get(f"{process.url}/health/ready").status_code == 200:
            pass
        process.signal()
        assert process.wait() == 1
        assert process.reason in (None, "cut", "engine_dead")
        assert time.monotonic() - start < 4


def test_a_port_that_is_taken_is_said_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def never(*_: Any) -> Any:
            raise AssertionError("the engine was started")

        with pytest.raises(ConfigError, match=f"Port {port} of 127.0.0.1 is taken.*--port"):
            serve(ServeConfig(model_path="fake", port=port), never)


def test_a_host_that_is_not_ours_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="--host"):
        open_socket("203.0.113.1", 0)


def test_connections_do_not_wait_for_acks() -> None:
    with (
        open_socket("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def screen(*, is_terminal: bool, **options: Any) -> str:
    config = ServeConfig(model_path="fake", served_model_name="[b]x[/b]", **options)
    template = chat_template()
    service = Service(FakeEngineClient("a"), config, byte_tokenizer(), template)
    out = io.StringIO()
    show_ready(service, Console(file=out, force_terminal=is_terminal, width=200, no_color=True))
    return out.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_ready_screen_says_where_and_what(is_terminal: bool) -> None:
    shown = screen(is_terminal=is_terminal, host="0.0.0.0")
    assert "[b]x[/b] (FakeForCausalLM, float32)" in shown
    assert "http://127.0.0.1:30000" in shown
    assert "256 tokens" in shown and "1,048,576 tokens" in shown
    assert "curl http://127.0.0.1:30000/v1/chat/completions" in shown


def test_the_ready_screen_never_shows_the_key() -> None:
    shown = screen(is_terminal=False, api_key="secret")
    assert "secret" not in shown and "$API_KEY" in shown


def test_the_curl_line_is_a_good_request() -> None:
    """Run by hand it must work: its body is sent here."""
    shown = screen(is_terminal=False)
    body = shown.split("-d '")[1].split("'")[0]
    assert json.loads(body) == {"messages": [{"role": "user", "content": "Hello!"}]}

"""One server process of the built-in model for all clients, with a key and calls of tools.

Clients must not reach for the internet: what they would fetch or report is switched off here,
before they are imported, and who asks for the address of another host all the same is found out.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.clients.weather import KEY
from tests.server.test_run import free_port

os.environ.update(
    {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LANGSMITH_TRACING": "false",
        "LANGCHAIN_TRACING_V2": "false",
        "DO_NOT_TRACK": "1",
    }
)

TEMPLATE = Path(__file__).with_name("template.jinja")
FLAGS = {
    "--api-key": KEY,
    "--chat-template": str(TEMPLATE),
    "--tool-call-parser": "hermes",
    "--context-length": "2048",
    "--max-total-tokens": "8192",
    "--page-size": "16",
    "--max-running-requests": "4",
    "--max-queued-requests": "60",
    "--chunked-prefill-size": "128",
}
START_S = 120


@pytest.fixture(scope="module", autouse=True)
def nobody_else_is_asked() -> Iterator[None]:
    """Clients may swallow the error, so it is told at the end again."""
    asked: list[Any] = []
    found = socket.getaddrinfo

    def only_here(host: Any, *rest: Any, **named: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1", "localhost", b"localhost"):
            asked.append(host)
            raise OSError(f"A test asked for the host {host!r}.")
        return found(host, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", only_here)
        yield
    assert not asked


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server, which must end well and without a mistake in its log."""
    port = free_port()
    flags = [word for pair in FLAGS.items() for word in pair]
    command = [sys.executable, "-m", "sgjax.launch_server", "--model-path", "demo", *flags]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as file:
        popen = subprocess.Popen([*command, "--port", str(port)], stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(popen, url, log)
        yield url
        popen.send_signal(signal.SIGTERM)
        assert popen.wait(30) == 0, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        popen.kill()
        popen.wait()


def _wait_until_ready(popen: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while popen.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"The server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def base_url(server: str) -> str:
    """What OpenAI's clients are given."""
    return f"{server}/v1"


@pytest.fixture(scope="session")
def ai(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        yield client

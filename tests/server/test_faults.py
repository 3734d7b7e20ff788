"""Clients that go away, engines that die, queues that fill, servers that drain."""

import json
import socket
import time
from typing import Any

import httpx
import pytest

from tests.front.fakes import FakeEngineClient, make_info
from tests.server.live import TEXT, Live, live
from tests.server.test_bad_input import CHAT, COMPLETIONS, GENERATE, GOOD, PATHS


def send_raw(server: Live, path: str, body: dict[str, Any]) -> socket.socket:
    """A request on a connection that can be cut at will."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("paused_after", [0, 2])
@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_goes_away_frees_its_place_at_once(
    server: Live, path: str, paused_after: int, stream: bool
) -> None:
    """Before the first token too, when nothing would be written that could fail."""
    server.client.reset(TEXT, pause_after=paused_after)
    many = {"sampling_params": {"n": 2}} if path == GENERATE else {"n": 2}
    connection = send_raw(server, path, {**GOOD[path], "stream": stream, **many, "max_tokens": 9})
    server.wait_for_requests(2)
    connection.close()
    start = time.monotonic()
    server.wait_for_quiet()
    assert time.monotonic() - start < 0.5
    assert len(server.client.aborted) == 2


def test_a_slow_reader_gets_everything(server: Live) -> None:
    connection = send_raw(server, GENERATE, {"text": "a", "stream": True})
    received = b""
    while b"[DONE]" not in received:
        received += connection.recv(64)
    connection.close()
    last = received.split(b"\n\n")[-3].split(b"data: ")[-1]
    assert json.loads(last)["text"] == TEXT


@pytest.mark.parametrize("path", PATHS)
def test_a_full_queue_is_a_429_that_says_when_to_come_back(path: str) -> None:
    fake = FakeEngineClient(TEXT, info=make_info(max_running_requests=1))
    fake.reset(TEXT, pause_after=0)
    with live(fake, max_queued_requests=1) as server:
        held = [send_raw(server, path, GOOD[path]) for _ in range(2)]
        server.wait_for_requests(2)
        answer = httpx.post(server.url + path, json=GOOD[path])
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
        too_dear = {**GOOD[CHAT], "messages": [{"role": "tool", "content": "refused if rendered"}]}
        assert httpx.post(server.url + CHAT, json=too_dear).status_code == 429
        # Health is about the server, not about its load.
        assert httpx.get(f"{server.url}/health").status_code == 200
        for connection in held:
            connection.close()
        server.wait_for_quiet()
        fake.reset(TEXT)
        assert httpx.post(server.url + path, json=GOOD[path]).status_code == 200


def test_a_dead_engine_is_said_to_those_who_wait_and_those_who_come() -> None:
    fake = FakeEngineClient(TEXT)
    fake.reset(TEXT, pause_after=2)
    with live(fake) as server, httpx.Client(base_url=server.url) as http:
        waiting = {path: send_raw(server, path, GOOD[path] | {"max_tokens": 9}) for path in PATHS}
        with http.stream("POST", CHAT, json={**GOOD[CHAT], "max_tokens": 9, "stream": True}) as out:
            server.wait_for_requests(3)
            lines = out.iter_lines()
            while '"Th' not in (line := next(lines)) and '"h"' not in line:
                pass
            fake.die()
            rest = [line for line in lines if line]
        assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "engine_dead"
        for path, connection in waiting.items():
            if path != GENERATE:  # it asked for two tokens and had them
                assert b" 503 " in connection.recv(4096).split(b"\r\n")[0]
            connection.close()
        for path in PATHS:
            answer = http.post(path, json=GOOD[path])
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "engine_dead"
        assert http.get("/health").status_code == 200
        assert http.get("/health/ready").status_code == 503
        assert http.get("/health_generate").status_code == 503
        assert "sgjax_engine_alive 0.0" in http.get("/metrics").text


def test_draining_takes_nothing_new(server: Live, http: httpx.Client) -> None:
    server.service.is_draining = True
    try:
        for path in PATHS:
            answer = http.post(path, json=GOOD[path])
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
            assert answer.headers["retry-after"] == "1"
        assert http.get("/health/ready").status_code == 503
        assert http.get("/health").status_code == 200
    finally:
        server.service.is_draining = False


def test_a_fault_of_ours_is_a_500_without_details(
    server: Live, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("secret details")

    monkeypatch.setattr(server.client, "open", break_down)
    for path in PATHS:
        answer = http.post(path, json=GOOD[path])
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert "secret" not in answer.text
        answer = http.post(path, json=GOOD[path] | {"stream": True})
        assert '"code":"internal_error"' in answer.text and "secret" not in answer.text
    monkeypatch.undo()
    assert http.post(COMPLETIONS, json=GOOD[COMPLETIONS]).status_code == 200

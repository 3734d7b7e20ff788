import http.server
import io
import json
import threading
from collections.abc import Generator, Iterator, Sequence

import pytest

from sgjax.cli import main
from sgjax.errors import EngineDead, InvalidRequest
from sgjax.terminal import Message, chat_with_server, converse


@pytest.fixture
def typed(monkeypatch):
    """Lets a test type lines."""
    return lambda *lines: monkeypatch.setattr(
        "sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines))
    )


class Heard:
    """A model that repeats, in two pieces, and remembers what it was shown."""

    def __init__(self) -> None:
        self.conversations: list[list[str]] = []

    def __call__(self, messages: Sequence[Message]) -> Generator[str]:
        self.conversations.append([f"{m['role']}: {m['content']}" for m in messages])
        said = messages[-1]["content"]
        if said == "too long":
            raise InvalidRequest("This is too long.")
        yield said.upper()
        if said == "stop":
            raise KeyboardInterrupt
        yield "!"


def test_conversation_is_remembered(typed, capsys):
    typed("hello", "", "again")
    model = Heard()
    converse(model, system="be brief")
    assert capsys.readouterr().out == "HELLO!\nAGAIN!\n"
    assert model.conversations[-1] == [
        "system: be brief",
        "user: hello",
        "assistant: HELLO!",
        "user: again",
    ]


def test_clear_forgets_all_but_the_system_message(typed):
    typed("hello", "/clear", "again", "/exit", "never")
    model = Heard()
    converse(model, system="be brief")
    assert model.conversations[1:] == [["system: be brief", "user: again"]]


def test_refused_question_is_said_and_forgotten(typed, capsys):
    typed("too long", "short")
    model = Heard()
    converse(model)
    assert model.conversations[-1] == ["user: short"]
    assert "This is too long." in capsys.readouterr().err


def test_interrupted_answer_is_kept_as_far_as_it_came(typed):
    typed("stop", "on")
    model = Heard()
    converse(model)
    assert model.conversations[-1] == ["user: stop", "assistant: STOP", "user: on"]


class Handler(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible server with one answer."""

    asked: list[tuple[str, str | None, dict]]
    status: int
    lines: list[object]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        self.send_response(self.status)
        self.end_headers()
        if self.status == 200:
            for line in self.lines:
                self.wfile.write(f"data: {json.dumps(line)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.wfile.write(json.dumps({"error": {"message": "wrong key"}}).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(no_leaks) -> Iterator[tuple[str, type[Handler]]]:
    delta = [{"choices": [{"delta": {"content": text}}]} for text in ("Washing", "ton")]
    lines = [{"choices": [{"delta": {"role": "assistant"}}]}, *delta, {"choices": []}]
    handler = type("Once", (Handler,), {"asked": [], "status": 200, "lines": lines})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}", handler
        served.shutdown()
        thread.join()


def test_server_is_asked_and_its_stream_printed(server, typed, capsys):
    url, handler = server
    typed("capital?")
    params = {"max_new_tokens": 8, "temperature": 0.0}
    chat_with_server(f"{url}/v1/", params, key="secret")
    assert capsys.readouterr().out == "Washington\n"
    path, key, body = handler.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert body == {
        "model": "default",
        "max_tokens": 8,
        "temperature": 0.0,
        "messages": [{"role": "user", "content": "capital?"}],
        "stream": True,
    }


def test_wrong_key_ends_the_chat_with_the_server_s_words(server, typed):
    url, handler = server
    handler.status = 401
    typed("capital?")
    with pytest.raises(EngineDead, match="401: wrong key"):
        chat_with_server(url, {})


def test_error_within_a_stream_is_said(server, typed, capsys):
    url, handler = server
    handler.lines = [{"error": {"message": "The engine failed."}}]
    typed("capital?")
    chat_with_server(url, {})
    assert "The engine failed." in capsys.readouterr().err


def test_server_is_asked_for_the_model_that_was_named(server, typed):
    url, handler = server
    typed("capital?")
    assert main(["chat", "other", "--url", url]) == 0
    assert handler.asked[0][2]["model"] == "other"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chat --url http://x --tp 2", "--tp is for an engine in this process"),
        ("chat --api-key secret", "--api-key is for a server"),
    ],
)
def test_flag_that_goes_with_the_other_way_to_chat_is_refused(line: str, message: str, capsys):
    assert main(line.split()) == 2
    assert message in capsys.readouterr().err


def test_server_that_is_not_there_is_named(typed):
    typed("capital?")
    with pytest.raises(EngineDead, match=r"127\.0\.0\.1:9 does not answer"):
        chat_with_server("http://127.0.0.1:9", {})

"""Programs on a server that answers as SGLang 0.3 does: its paths, its methods, its fields."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import sgjax as sgl
from sgjax.errors import EngineDead, InvalidProgram, ProgramFailed
from tests.lang.backends.programs import capital, cause

pytestmark = pytest.mark.timeout(20)

SCORES = {" a": -1.0, " b": -0.5}
"""Of choices; each character is a token."""


class Server(ThreadingHTTPServer):
    """Keeps what it is asked."""

    asked: list[Any]
    paths: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(f"GET {self.path}")
        replies = {
            "/get_model_info": {"model_path": "m", "is_generation": True},
            "/get_server_args": {"model_path": "m"},
            "/flush_cache": {},
        }
        self._send(200 if self.path in replies else 404, json.dumps(replies.get(self.path, {})))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
        self.server.paths.append(f"POST {self.path}")
        if self.path != "/generate":
            return self._send(405, "{}")
        self.server.asked.append(body)
        prompts = body.get("text") or body["input_ids"]
        if body.get("stream"):
            said = [_said(text) for text in ("He", "Hello")]
            lines = [f"data: {json.dumps(each)}\n\n" for each in said]
            end = [] if "Nowhere" in prompts else ["data: [DONE]\n\n"]
            return self._send(200, "".join([*lines, *end]))
        single = isinstance(prompts, str)
        outs = [_said("Hello", prompt, body) for prompt in ([prompts] if single else prompts)]
        return self._send(200, json.dumps(outs[0] if single else outs))

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _said(text: str, prompt: Any = "", body: Any = None) -> dict[str, Any]:
    meta: dict[str, Any] = {"prompt_tokens": len(prompt), "finish_reason": "FINISH_LENGTH: 5"}
    if body and body.get("return_logprob"):
        ids = [ord(each) for each in prompt] if isinstance(prompt, str) else prompt
        last = SCORES.get("".join(map(chr, ids[-2:])), 0.0)
        start = body["logprob_start_len"]
        meta["input_token_logprobs"] = [
            [None if i == 0 else last if i == len(ids) - 1 else -0.1, ids[i], chr(ids[i])]
            for i in range(start + 1 if start else 0, len(ids))
        ]
    return {"text": text, "meta_info": meta, "index": 0}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.asked, server.paths = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def backend(server: Server) -> Iterator[sgl.RuntimeEndpoint]:
    backend = sgl.RuntimeEndpoint(f"http://127.0.0.1:{server.server_port}")
    yield backend
    backend.shutdown()


def test_a_call_sends_fields_that_sglang_knows(server: Server, backend: sgl.RuntimeEndpoint):
    state = capital.run("Peru", json_schema={"type": "object"}, stop="x", backend=backend)
    assert state["capital"] == "Hello"
    assert state.get_meta_info("capital")["finish_reason"] == "FINISH_LENGTH: 5"
    (body,) = server.asked
    assert set(body) == {"text", "sampling_params"}
    assert body["sampling_params"]["json_schema"] == '{"type":"object"}'


def test_a_stream_is_read_piece_by_piece(backend: sgl.RuntimeEndpoint):
    state = capital.run("Peru", stream=True, backend=backend)
    assert "".join(state.text_iter("capital")) == state["capital"] == "Hello"


def test_a_stream_that_is_cut_is_no_answer(backend: sgl.RuntimeEndpoint):
    state = capital.run("Nowhere", stream=True, backend=backend)
    with pytest.raises(ProgramFailed, match="before the answer's end"):
        list(state.text_iter("capital"))
    assert isinstance(cause(state, "capital"), EngineDead)


@pytest.mark.parametrize(
    "method",
    [
        sgl.token_length_normalized,
        sgl.greedy_token_selection,
        sgl.unconditional_likelihood_normalized,
    ],
)
def test_choices_are_scored(server: Server, backend: sgl.RuntimeEndpoint, method: Any):
    @sgl.function
    def choose(s: Any) -> None:
        s += "One:" + sgl.select("x", [*SCORES], choices_method=method)

    state = choose.run(backend=backend)
    told = state.get_meta_info("x")
    assert [[text for *_, text in row] for row in told["input_token_logprobs"]] == [
        [" ", "a"],
        [" ", "b"],
    ]
    if method is sgl.unconditional_likelihood_normalized:
        assert server.asked[-1]["input_ids"] == [[*map(ord, each)] for each in SCORES]
    else:
        assert state["x"] == " b"


def test_the_cache_is_flushed_and_the_server_s_arguments_are_told(
    server: Server, backend: sgl.RuntimeEndpoint
):
    assert sgl.flush_cache(backend) is True
    assert sgl.get_server_info(backend) == {"model_path": "m"}
    assert server.paths[1:] == [
        "POST /flush_cache",
        "GET /flush_cache",
        "GET /get_server_info",
        "GET /get_server_args",
    ]


@pytest.mark.parametrize(
    ("country", "params", "message"),
    [("\ud800", {}, "surrogates"), ("Peru", {"temperature": 1j}, "1j")],
)
def test_what_cannot_be_sent_is_said(
    backend: sgl.RuntimeEndpoint, country: str, params: dict[str, Any], message: str
):
    error = cause(capital.run(country, backend=backend, **params), "capital")
    assert isinstance(error, InvalidProgram)
    assert re.search(f"cannot be sent to a server: .*{message}", str(error))

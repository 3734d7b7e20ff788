"""A server that keeps what it is asked, and answers what it was told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = dict[str, Any] | list[dict[str, Any]]
"""A list is streamed, an event each; a dict with "status" is an error."""


class FakeApi:
    """Answers one after the other; the last again and again."""

    def __init__(self, url: str):
        self.url = url
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.replies: list[Reply] = []
        self.lock = threading.Lock()

    def answers(self, *replies: Reply) -> None:
        self.replies = list(replies)

    @property
    def body(self) -> Any:
        """Of the only request."""
        (body,) = self.bodies
        return body

    def next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def fake_api() -> Iterator[FakeApi]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with api.lock:
                api.bodies.append(body)
                api.paths.append(self.path)
                api.headers.append({name.lower(): value for name, value in self.headers.items()})
                reply = api.next()
            if isinstance(reply, list):
                events = [_event(each) for each in reply]
                self._send(200, "text/event-stream", "".join(events))
            else:
                self._send(reply.pop("status", 200), "application/json", json.dumps(reply))

        def _send(self, status: int, kind: str, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = FakeApi(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _event(data: dict[str, Any]) -> str:
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data)}\n\n"


def chat_reply(text: str | None, *, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """As OpenAI's API of chats answers."""
    content = {"role": "assistant", "content": text, **message}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": content, "finish_reason": reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }


def chat_events(*texts: str) -> list[dict[str, Any]]:
    """The same, streamed."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    pieces = [
        {**head, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        for text in texts
    ]
    end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 10, "completion_tokens": len(texts), "total_tokens": 0}
    return [*pieces, end, {**head, "choices": [], "usage": usage}]


def completion_choice(
    text: str, index: int = 0, *, reason: str = "stop", logprobs: Any = None
) -> dict[str, Any]:
    return {"index": index, "text": text, "finish_reason": reason, "logprobs": logprobs}


def completion_reply(*choices: dict[str, Any]) -> dict[str, Any]:
    """As OpenAI's API of completions answers."""
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }

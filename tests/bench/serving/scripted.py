"""A server that says what a test wrote down, byte for byte."""

import http.server
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

Answer = tuple[int, Sequence[bytes]]
"""A status, and the pieces of a body, which are written apart."""

PAUSE_S = 0.002


@contextmanager
def scripted(answers: Mapping[str, Answer]) -> Iterator[tuple[str, list[bytes]]]:
    """Answers by path; its URL, and the bodies that it was sent. Other paths are 404."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.do_GET()

        def do_GET(self) -> None:
            status, pieces = answers.get(self.path, (404, [b"not here"]))
            self.send_response(status)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(PAUSE_S)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

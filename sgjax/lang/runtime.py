"""`Runtime`: a server of one's own, for programs: a process that ends with this one."""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

import httpx

from sgjax.errors import ConfigError
from sgjax.lang.backends.runtime_endpoint import RuntimeEndpoint

_LOOK_UP_S = 0.1
_STOP_S = 10.0
_LAST_CHARS = 2000
"""Of what a server said that did not start."""


class Runtime:
    """Starts a server and waits until it serves.

    runtime = sgjax.Runtime(model_path="demo")
    sgjax.set_default_backend(runtime)
    ...
    runtime.shutdown()
    """

    def __init__(self, *, log_level: str = "error", timeout_s: float = 1800.0, **options: Any):
        """`options` are those of `sgjax serve`, with underscores; without a port a free one is
        taken.

        Raises:
            ConfigError: the server ends before it serves, or does not come to it in time; it says
                what the server said.
        """
        options.setdefault("host", "127.0.0.1")
        options.setdefault("port", _free_port(options["host"]))
        self.url = f"http://{options['host']}:{options['port']}"
        self._folder = tempfile.TemporaryDirectory(prefix="sgjax-runtime-")
        config = Path(self._folder.name) / "options.yaml"
        config.write_text(json.dumps({**options, "log_level": log_level}))  # JSON is YAML
        self._said = Path(self._folder.name) / "said"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sgjax.cli", "serve", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        self._finalizer = weakref.finalize(self, _end, self._process, self._folder)
        try:
            self._wait(timeout_s)
            self.endpoint = RuntimeEndpoint(self.url, api_key=options.get("api_key"))
        except BaseException:
            self.shutdown()
            raise

    @property
    def backend(self) -> RuntimeEndpoint:
        """For programs. Raises ConfigError once it was shut down."""
        if not self._finalizer.alive:
            raise ConfigError("This Runtime was shut down. Start a new one.")
        return self.endpoint

    def get_server_info(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self.endpoint.get_server_info()

    def flush_cache(self) -> bool:
        """Empties the prefix cache; False while requests are under way."""
        return self.endpoint.flush_cache()

    def shutdown(self) -> None:
        """Ends the server. May be called twice."""
        if endpoint := getattr(self, "endpoint", None):
            endpoint.shutdown()
        self._finalizer()

    def __enter__(self) -> "Runtime":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None:
                raise ConfigError(f"The server ended before it served:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"The server does not serve after {timeout_s:.0f} s. It said:\n"
                    f"{self._last_words()}"
                )
            time.sleep(_LOOK_UP_S)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", timeout=_STOP_S).is_success
        return False

    def _last_words(self) -> str:
        return self._said.read_text(errors="replace")[-_LAST_CHARS:].strip() or "(nothing)"


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return found.getsockname()[1]


def _end(process: "subprocess.Popen[bytes]", folder: "tempfile.TemporaryDirectory[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    folder.cleanup()

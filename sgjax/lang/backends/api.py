"""What backends of APIs have in common: a loop of their own, and nothing to cache."""

import importlib
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sgjax.errors import ConfigError, EngineDead, InvalidProgram
from sgjax.lang.backends.contract import Answer, Backend, Call
from sgjax.lang.chat_template import ChatTemplate
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod
from sgjax.lang.transcript import Transcript

if TYPE_CHECKING:
    from sgjax.front.loop_thread import LoopThread


class OwnLoop:
    """A loop that begins when it is first asked for. For any thread."""

    def __init__(self, name: str):
        self._name = name
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._is_closed = False

    def get(self) -> "LoopThread":
        """The same ever after, closed or not. Raises EngineDead if it was closed unbegun."""
        from sgjax.front.loop_thread import LoopThread  # brings uvloop

        with self._lock:
            if self._thread is None:
                if self._is_closed:
                    raise EngineDead("The backend was shut down. Make a new one.")
                self._thread = LoopThread(self._name)
            return self._thread

    def close(self, last: Coroutine[Any, Any, object]) -> None:
        """Gives up what is under way and runs `last`. May be called twice."""
        with self._lock:
            thread = None if self._is_closed else self._thread
            self._is_closed = True
        if thread is None:
            last.close()
            return
        try:
            thread.run(last)
        finally:
            thread.close()


class ApiBackend(Backend, Protocol):
    """A backend whose prefix cache, if it has one, is nobody's business here."""

    api: str
    """Its name, for messages."""
    _own: OwnLoop
    _template: ChatTemplate

    @property
    def loop(self) -> "LoopThread":
        return self._own.get()

    @property
    def chat_template(self) -> ChatTemplate:
        return self._template

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"image"})

    async def generate(self, transcript: Transcript, call: Call) -> Answer: ...

    def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]: ...

    async def select(
        self,
        transcript: Transcript,
        choices: Sequence[str],
        *,
        method: ChoicesMethod,
        temperature: float,
    ) -> ChoicesDecision:
        raise InvalidProgram(
            f"{self.api} has no select: it does not tell how likely a given text is. Use gen, or "
            "run the program on an Engine, a server of sgjax's or OpenAI."
        )

    async def cache_prefix(self, text: str) -> None:
        """Nothing."""

    async def before_fork(self, transcript: Transcript) -> None:
        """Nothing."""

    def speculating(self, num_tokens: int) -> Backend:
        raise InvalidProgram(
            f"{self.api} does not guess ahead: num_api_spec_tokens is OpenAI's. Leave it out."
        )

    def end_role(self, transcript: Transcript) -> None:
        """Nothing."""

    def flush_cache(self) -> bool:
        raise InvalidProgram(
            f"{self.api} has no call that empties a prefix cache. An Engine has, and a Runtime."
        )

    def get_server_info(self) -> dict[str, Any]:
        """Nothing: such an API does not tell."""
        return {}

    def shutdown(self) -> None:
        """Gives up what is under way, and closes all connections."""
        self._own.close(self._close())

    async def _close(self) -> None:
        """Closes the client's connections, if it keeps any."""


def import_client(module: str) -> Any:
    """Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"This backend needs the package {module.split('.')[0]!r}, which cannot be imported "
            f'({error}). Install it: pip install "sgjax[apis]".'
        ) from error

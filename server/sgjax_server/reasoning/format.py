"""What a format of thoughts is."""

from collections.abc import Callable
from typing import Protocol

from sgjax_server.reasoning.count import State, ThoughtCount
from sgjax_server.tools.scanner import Reading, Source


class ReasoningFormat(Protocol):
    """How a model writes what it thinks."""

    is_needed: bool
    """Whether answers cannot be shown unread."""

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that may be special tokens, and are wanted in the output even so."""
        ...

    @property
    def answer_begins(self) -> str:
        """The text behind which nothing but the answer comes."""
        ...

    def state_after(self, prompt: str, said: str = "") -> State:
        """How the output begins, behind this prompt. `said` is the end of it, where that is an
        answer to go on with."""
        ...

    def opened(self, prompt: str) -> str:
        """The prompt, so that what comes is sure to have `answer_begins` in it."""
        ...

    def count(self, state: State, bytes_of: Callable[[int], bytes]) -> ThoughtCount | None:
        """Counts tokens of thoughts; None: it cannot be said which these are."""
        ...

    def read(self, source: Source, state: State) -> Reading[None]:
        """Yields Thought and Text. Returns where only Text can follow."""
        ...

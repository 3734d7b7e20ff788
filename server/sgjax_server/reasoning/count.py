"""How many tokens of an output are thoughts."""

from collections.abc import Callable, Sequence
from typing import Literal

State = Literal["open", "closed", "unknown"]
"""Whether the model thinks where its output begins: it does, it does not, or it decides."""


class ThoughtCount:
    """Counts the tokens up to the tag that ends the thoughts, the tags included.

    It reads tokens and not text, which lags behind them.
    """

    def __init__(self, begin: str, end: str, state: State, bytes_of: Callable[[int], bytes]):
        """`bytes_of` says what a token adds to the text."""
        self._bytes_of = bytes_of
        self.num_tokens = 0
        self._begin, self._end = begin.encode(), end.encode()
        self._state = state
        self._data = b""
        """What came before the thoughts; then, of the thoughts, what may begin the end tag."""

    def add(self, token_ids: Sequence[int]) -> None:
        for token in token_ids if self._state != "closed" else ():
            self.num_tokens += 1
            self._data += self._bytes_of(token)
            if self._state == "unknown":
                self._decide()
            if self._state == "open":
                self._look_for_end()
            if self._state == "closed":
                return

    def _decide(self) -> None:
        said = self._data.lstrip()
        if said.startswith(self._begin):
            self._state = "open"
        elif not self._begin.startswith(said):
            self._state, self.num_tokens = "closed", 0

    def _look_for_end(self) -> None:
        if self._end in self._data:
            self._state = "closed"
        self._data = self._data[-len(self._end) + 1 :]

    def total(self) -> int:
        """So far; nothing, while it is not known whether the model thinks."""
        return 0 if self._state == "unknown" else self.num_tokens

"""One request's grammar, as far as its output has come."""

import hashlib
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

_KEY_BYTES = 16
ANY_TOKEN = b""
"""The key of states in which every token is allowed."""


class GrammarFault(Exception):
    """The grammar cannot go on: it is too much work, or was given a token that it forbids."""


class Matcher:
    """Which tokens may come next, and which must.

    With `after`, everything is allowed until these tokens have come, in a row; then the grammar
    begins. (The end of a model's thinking.)
    """

    def __init__(self, state: Any, name: bytes, after: Sequence[int] = ()):
        """`state` is an LLMatcher of its own; `name` tells its grammar from all others."""
        self._state = state
        self._after = tuple(after)
        self._last: tuple[int, ...] = ()
        self._key = name

    @property
    def is_active(self) -> bool:
        """Whether the grammar has begun."""
        return not self._after

    @property
    def key(self) -> bytes:
        """Matchers of equal keys allow the same."""
        return self._key if self.is_active else ANY_TOKEN

    @property
    def has_ended(self) -> bool:
        """Whether the output is whole, and nothing can be added to it."""
        return self.is_active and self._state.is_stopped()

    def advance(self, tokens: Sequence[int]) -> None:
        """Takes in the next tokens of the output.

        Raises:
            GrammarFault: one of them is not allowed, or the grammar is too complex to go on.
        """
        for index, token in enumerate(tokens):
            if self.is_active:
                self._consume(list(tokens[index:]))
                return
            self._last = (*self._last, token)[-len(self._after) :]
            if self._last == self._after:
                self._after = ()

    def _consume(self, tokens: list[int]) -> None:
        if not self._state.consume_tokens(tokens):
            raise GrammarFault(self._state.get_error())
        self._key = hashlib.blake2b(
            self._key + array("i", tokens).tobytes(), digest_size=_KEY_BYTES
        ).digest()

    def forced(self) -> list[int]:
        """The tokens that must come next, as the tokenizer would cut their text; often none."""
        return self._state.compute_ff_tokens() if self.is_active else []

    def fill(self, mask: np.ndarray) -> None:
        """Sets bit v % 32 of word v // 32 for each token v that may come next; mask: i32[ceil(V /
        32)]. Other threads of Python run meanwhile.

        Raises:
            GrammarFault: the grammar is too complex to go on.
        """
        if not self.is_active:
            mask.fill(-1)
            return
        self._state.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if self._state.is_error():
            raise GrammarFault(self._state.get_error())

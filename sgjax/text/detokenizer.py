"""Token ids to text, piece by piece."""

import codecs
from collections.abc import Container, Iterable

from sgjax.text.pieces import Pieces


class Detokenizer:
    """Turns the ids of one text into text, as soon as each character is certain.

    The pieces of `feed`, and `flush` at the end, joined are the text that all ids together have,
    however they were split. Bytes that are not UTF-8 become U+FFFD. The work per id is constant.
    """

    def __init__(self, pieces: Pieces, *, skipped: Container[int], is_continuation: bool):
        """`skipped` ids have no text. A continuation keeps the space that a text's start loses."""
        self._pieces = pieces
        self._skipped = skipped
        self._at_start = not is_continuation
        self._max_lead = 0 if is_continuation else pieces.spelling.max_lead
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_whole = True
        """Whether no character is half read."""

    def feed(self, ids: Iterable[int]) -> str:
        """The text that these ids make certain. Never ends within a character."""
        if self._at_start:
            data = b"".join([self._bytes(token_id) for token_id in ids])
        else:
            later, skipped = self._pieces.later, self._skipped
            data = b"".join([later[token_id] for token_id in ids if token_id not in skipped])
        if self._is_whole and data.isascii():
            text = data.decode("ascii")
        else:
            text = self._utf8.decode(data)
            self._is_whole = not self._utf8.getstate()[0]
        return self._drop_lead(text) if self._max_lead else text

    def flush(self) -> str:
        """What is left when no more ids come: U+FFFD for a character that was not finished."""
        return self._drop_lead(self._utf8.decode(b"", final=True))

    def _bytes(self, token_id: int) -> bytes:
        if token_id in self._skipped:
            return b""
        if not self._at_start:
            return self._pieces.later[token_id]
        if not self._pieces.has(token_id):
            return b""
        self._at_start = False
        return self._pieces.first(token_id)

    def _drop_lead(self, text: str) -> str:
        while self._max_lead and text:
            if text[0] != self._pieces.spelling.lead:
                self._max_lead = 0
                break
            text = text[1:]
            self._max_lead -= 1
        return text

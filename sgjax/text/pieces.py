"""The bytes that each token adds to a text.

A text is its tokens' bytes, end to end, read as UTF-8. This holds for every tokenizer we serve,
once the first token of a text is told from later ones (some tokenizers write no space before the
first word), and it makes streaming exact: nothing that comes later changes a byte.

The rule is read from the tokenizer's decoder:

    ByteLevel                               GPT-2 and its heirs: a character stands for a byte
    Replace* ByteFallback? Fuse? Strip?     SentencePiece: "▁" is a space, <0x0A> a byte
    Metaspace, WordPiece, none              each token has a text that only its being first changes
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tokenizers

from sgjax.errors import ConfigError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class Spelling:
    """How a decoder turns tokens into bytes."""

    later: Callable[[str], bytes]
    first: Callable[[str], bytes]
    """The same for a token that begins a text."""
    lead: str = ""
    """A character of which up to `max_lead` are dropped where a text begins."""
    max_lead: int = 0


class Later(dict[int, bytes]):
    """Bytes by token id, spelt when first asked for; none for an id that names no token."""

    def __init__(self, token: Callable[[int], str | None], spell: Callable[[str], bytes]):
        self._token = token
        self._spell = spell

    def __missing__(self, token_id: int) -> bytes:
        token = self._token(token_id)
        if token is None:
            return b""
        found = self[token_id] = self._spell(token)
        return found


class Pieces:
    """The bytes of each token id, worked out when first asked for.

    Threads may share it: a race does the same work twice.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        """Raises ConfigError if the tokenizer's decoder is none of the above."""
        self.spelling = _read_decoder(tokenizer.decoder)
        self._token = tokenizer.id_to_token
        self.later = Later(tokenizer.id_to_token, self.spelling.later)
        """The bytes of each token within a text."""

    def has(self, token_id: int) -> bool:
        """Whether the id names a token. Models pad their vocabulary: others can be drawn too."""
        return self._token(token_id) is not None

    def first(self, token_id: int) -> bytes:
        """The bytes of a token that begins a text."""
        token = self._token(token_id)
        return b"" if token is None else self.spelling.first(token)


def _read_decoder(decoder: Any) -> Spelling:
    steps = _flatten(json.loads(decoder.__getstate__())) if decoder is not None else []
    kinds = " ".join(step["type"] for step in steps)
    if kinds == "ByteLevel":
        return Spelling(later=_byte_level, first=_byte_level)
    if re.fullmatch(r"(Replace ?)*(ByteFallback)?( ?Fuse( Strip)?)?", kinds) and steps:
        return _sentencepiece(steps)
    if kinds in ("", "Metaspace", "WordPiece"):
        return _by_neighbour(decoder)
    raise ConfigError(
        f"This tokenizer's decoder ({kinds}) cannot be streamed. Decoders that can: ByteLevel, "
        "Metaspace, WordPiece, and Replace, ByteFallback, Fuse, Strip in this order."
    )


def _flatten(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder["type"] != "Sequence":
        return [decoder]
    return [step for part in decoder["decoders"] for step in _flatten(part)]


def _printable_bytes() -> dict[str, int]:
    """GPT-2's alphabet: a byte that prints is its own character, the others follow from U+0100."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    return {chr(byte): byte for byte in prints} | {
        chr(0x100 + n): byte for n, byte in enumerate(others)
    }


_BYTE_OF = _printable_bytes()


def _byte_level(token: str) -> bytes:
    """A token with a character outside the alphabet (an added one) stands for itself."""
    try:
        return bytes([_BYTE_OF[character] for character in token])
    except KeyError:
        return token.encode()


def _sentencepiece(steps: list[dict[str, Any]]) -> Spelling:
    replaced = [
        (_literal(step["pattern"]), step["content"]) for step in steps if step["type"] == "Replace"
    ]
    has_bytes = any(step["type"] == "ByteFallback" for step in steps)
    strip = next((step for step in steps if step["type"] == "Strip"), None)
    if strip is not None and strip["stop"]:
        raise ConfigError(
            "This tokenizer's decoder strips the end of a text, so nothing could be streamed. "
            "Set `stop` of its Strip to 0 in tokenizer.json."
        )

    def spell(token: str) -> bytes:
        for old, new in replaced:
            token = token.replace(old, new)
        if has_bytes and (match := _BYTE_TOKEN.fullmatch(token)):
            return bytes.fromhex(match[1])
        return token.encode()

    if strip is None:
        return Spelling(later=spell, first=spell)
    return Spelling(later=spell, first=spell, lead=strip["content"], max_lead=strip["start"])


def _literal(pattern: dict[str, str]) -> str:
    if "String" not in pattern:
        raise ConfigError(
            f"This tokenizer's decoder replaces by a regular expression ({pattern}); "
            "only plain strings are read."
        )
    return pattern["String"]


def _by_neighbour(decoder: Any) -> Spelling:
    """A token's text is what it adds behind another token."""
    decode = " ".join if decoder is None else decoder.decode
    anchor = "a"
    skip = len(decode([anchor]))

    def later(token: str) -> bytes:
        return decode([anchor, token])[skip:].encode()

    return Spelling(later=later, first=lambda token: decode([token]).encode())

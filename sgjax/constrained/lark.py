"""Texts in llguidance's Lark: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md."""

import json
import re
from collections.abc import Callable, Mapping


def special_to_llguidance(
    added_tokens: Mapping[str, int], is_special: Callable[[int], bool]
) -> dict[str, int]:
    """Those of a tokenizer's added tokens that are no text to llguidance: it takes all that look
    like <this> for special ones too."""
    return {
        token: number
        for token, number in added_tokens.items()
        if is_special(number) or (token.startswith("<") and token.endswith(">"))
    }


def quoted(text: str) -> str:
    """A terminal that is this text."""
    if text.translate(_FINE).isprintable():
        return json.dumps(text, ensure_ascii=False)
    return "/" + "".join(rf"\x{{{ord(character):x}}}" for character in text) + "/"


_FINE = str.maketrans("", "", "\n\r\t")


def delimited(regex: str) -> str:
    r"""A regex as a terminal; `\d` is 0 to 9, as in other engines, and not Unicode's 700 digits."""
    from llguidance import regex_to_lark

    return f"/{regex_to_lark(regex, 'd')}/"


def split_at_tokens(text: str, special_tokens: Mapping[str, int]) -> str:
    """A text, some parts of which are special tokens: to llguidance these are no text."""
    if not special_tokens:
        return quoted(text)
    longest_first = sorted(special_tokens, key=len, reverse=True)
    pieces = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
    return " ".join(
        f"<[{special_tokens[piece]}]>" if index % 2 else quoted(piece)
        for index, piece in enumerate(pieces)
        if piece
    )

"""Pieces of llguidance's Lark: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md."""

import copy
import json
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from sgjax.constrained.lark import delimited, split_at_tokens

ANY_TEXT = r"(.|\n)*"
TEXT = r"/(.|\n)+/"
_JSON_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Lark:
    """A grammar in the making, for one tokenizer.

    Special tokens are no text to llguidance, and every added token like <this> is special to it.
    """

    def __init__(
        self, added_tokens: Mapping[str, int], special_ids: Sequence[int] | frozenset[int]
    ):
        self._ids = {
            token: number
            for token, number in added_tokens.items()
            if number in special_ids or (token.startswith("<") and token.endswith(">"))
        }
        self._rules: list[str] = []

    @property
    def tokens(self) -> Container[str]:
        """The special tokens."""
        return self._ids

    def fresh(self) -> "Lark":
        """One for another grammar of the same tokenizer."""
        lark = copy.copy(self)
        lark._rules = []
        return lark

    def is_token(self, text: str) -> bool:
        """Whether the text is one special token."""
        return text in self._ids

    def text(self, text: str) -> str:
        """This text, and no other."""
        return split_at_tokens(text, self._ids) if text else ""

    def json(self, schema: Any) -> str:
        """JSON by a schema."""
        return f"%json {json.dumps(schema)}"

    def json_as_shown(self, schema: Mapping[str, Any]) -> str:
        """The same, laid out as chat templates show values: by Python's json.dumps."""
        return self.json({"x-guidance": _JSON_LAYOUT, **schema})

    def text_before(self, end: str) -> str:
        """Any text, and then `end`, at the first place where it stands."""
        if self.is_token(end):
            return f"({TEXT})? {self.text(end)}"
        return self.rule(f"{delimited(ANY_TEXT)} {self.text(end)}", is_lazy=True)

    def match_before(self, pattern: str, end: str, forbidden: str) -> str:
        """Text that the regex matches and in which `forbidden` does not stand, and then `end`."""
        if self.is_token(end):
            return f"{delimited(pattern)} {self.text(end)}"
        without = delimited(f"{ANY_TEXT}{re.escape(forbidden)}{ANY_TEXT}")
        name = f"T{len(self._rules)}"
        self._rules.append(f"{name}: ({delimited(pattern)} & ~{without}) {self.text(end)}")
        return name

    def free_text(self, *tokens: str) -> str:
        """Any text, with these special tokens within, where there are such."""
        allowed = [self.text(token) for token in tokens if self.is_token(token)]
        return f"{any_of([TEXT, *allowed])}*"

    def rule(self, expression: str, *, is_lazy: bool = False) -> str:
        """A name for an expression."""
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{'[lazy]' if is_lazy else ''}: {expression}")
        return name

    def grammar(self, start: str) -> str:
        return "\n".join(["%llguidance {}", f"start: {start}", *self._rules]) + "\n"


def any_of(expressions: Sequence[str]) -> str:
    return f"({' | '.join(expressions)})"

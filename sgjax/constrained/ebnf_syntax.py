"""EBNF as llama.cpp (GBNF) and xgrammar write it: `name ::= "text" [a-z]+ (other | more)?`."""

import dataclasses
import re
from collections.abc import Iterator

from sgjax.constrained.part import Part

MAX_NESTING = 64
MAX_REPEAT = 100_000


@dataclasses.dataclass(frozen=True)
class Text:
    value: str


@dataclasses.dataclass(frozen=True)
class CharClass:
    regex: str
    """One character, as a regex."""


@dataclasses.dataclass(frozen=True)
class Rule:
    name: str


@dataclasses.dataclass(frozen=True)
class Repeat:
    item: "Node"
    least: int
    most: int | None


@dataclasses.dataclass(frozen=True)
class Sequence:
    items: "tuple[Node, ...]"


@dataclasses.dataclass(frozen=True)
class Either:
    items: "tuple[Node, ...]"


Node = Text | CharClass | Rule | Repeat | Sequence | Either

_TOKENS = re.compile(
    r"""(?P<skip>[ \t\r\n]+|\#[^\n]*)
    |(?P<head>[A-Za-z0-9_-][A-Za-z0-9_.-]*(?=(?:\s|\#[^\n]*\n)*::=))
    |(?P<name>[A-Za-z0-9_-][A-Za-z0-9_.-]*)
    |(?P<is>::=)
    |(?P<text>"(?:[^"\\\n]|\\.)*")
    |(?P<class>\[(?:[^\]\\\n]|\\.)*\])
    |(?P<times>\{[ ]*[0-9]{1,9}[ ]*(?:,[ ]*[0-9]{0,9}[ ]*)?\})
    |(?P<mark>[|()*+?.])""",
    re.VERBOSE,
)
_END = ("end", "", 0)


def parse(part: Part, text: str) -> dict[str, Node]:
    """The rules of a grammar, by name.

    Raises:
        InvalidRequest: with the line, where the syntax is wrong or a rule comes twice.
    """
    return _Parser(part, text).rules()


class _Parser:
    def __init__(self, part: Part, text: str):
        self._part = part
        self._text = text
        self._tokens = list(self._split())
        self._next = 0
        self._depth = 0

    def rules(self) -> dict[str, Node]:
        rules: dict[str, Node] = {}
        while self._peek() != "end":
            name = self._take("head", "a rule: name ::= ...")
            if name in rules:
                raise self._refuse(f"the rule {name!r} is defined twice", self._next - 1)
            self._take("is", "::=")
            rules[name] = self._either()
        return rules

    def _either(self) -> Node:
        items = [self._sequence()]
        while self._peek() == "|":
            self._next += 1
            items.append(self._sequence())
        return items[0] if len(items) == 1 else Either(tuple(items))

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self._peek() in ("text", "class", "name", "(", "."):
            items.append(self._repeated(self._item()))
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _item(self) -> Node:
        kind, token, _ = self._tokens[self._next]
        self._next += 1
        if kind == "text":
            return Text("".join(_characters(self, token[1:-1])))
        if kind == "class":
            return CharClass(self._class(token[1:-1]))
        if kind == "name":
            return Rule(token)
        return CharClass("(?s:.)") if token == "." else self._group()

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._refuse(f"groups may be nested {MAX_NESTING} deep, not deeper")
        inner = self._either()
        self._take(")", "')'")
        self._depth -= 1
        return inner

    def _repeated(self, item: Node) -> Node:
        while (kind := self._peek()) in ("*", "+", "?", "times"):
            item = Repeat(item, *self._bounds(kind, self._tokens[self._next][1]))
            self._next += 1
        return item

    def _bounds(self, kind: str, token: str) -> tuple[int, int | None]:
        if kind != "times":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[kind]
        low, comma, high = token[1:-1].partition(",")
        least = int(low)
        most = least if not comma else int(high) if high.strip() else None
        if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least):
            raise self._refuse(f"{token} is no repetition: 0 to {MAX_REPEAT}, the lower first")
        return least, most

    def _class(self, inner: str) -> str:
        is_negated = inner.startswith("^")
        points = list(_characters(self, inner[1:] if is_negated else inner, "in a class"))
        ranges, at = [], 0
        while at < len(points):
            low = high = points[at]
            at += 1
            if at + 1 < len(points) and points[at] is RANGE:
                high = points[at + 1]
                at += 2
            low, high = (("-" if each is RANGE else each) for each in (low, high))
            if low > high:
                raise self._refuse(f"[{inner}] has a range that ends before it begins")
            ranges.append(rf"\x{{{ord(low):x}}}-\x{{{ord(high):x}}}")
        if not ranges and not is_negated:
            raise self._refuse("[] matches nothing")
        return f"[{'^' if is_negated else ''}{''.join(ranges)}]" if ranges else "(?s:.)"

    def _peek(self) -> str:
        return self._tokens[self._next][0]

    def _take(self, kind: str, words: str) -> str:
        found, token, _ = self._tokens[self._next]
        if found != kind:
            raise self._refuse(f"here must be {words}, not {token[:40]!r}", self._next)
        self._next += 1
        return token

    def _split(self) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(self._text):
            match = _TOKENS.match(self._text, at)
            if match is None:
                line = self._text.count("\n", 0, at) + 1
                near = self._text[at : at + 20].split("\n")[0]
                raise self._part.refuse(f"line {line}: {near!r} is not understood. {_HINT}")
            kind = str(match.lastgroup)
            if kind != "skip":
                yield match[0] if kind == "mark" else kind, match[0], at
            at = match.end()
        yield "end", "the end", at

    def _refuse(self, message: str, index: int | None = None) -> Exception:
        at = self._tokens[self._next - 1 if index is None else index][2]
        return self._part.refuse(f"line {self._text.count(chr(10), 0, at) + 1}: {message}.")

    refuse = _refuse


_HINT = (
    'A grammar is made of rules as: root ::= "text" [a-z]+ (other | "more")? in EBNF, or of '
    "start: ... in Lark."
)
RANGE = "range"
"""Stands for the - between the ends of a range, which is longer than any character."""
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
_ESCAPED = re.compile(
    r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\[ux]\{([0-9a-fA-F]{1,6})\}"
    r"|\\([\s\S])|([^\\])"
)


def _characters(parser: _Parser, inner: str, where: str = "") -> Iterator[str]:
    """The characters that are meant; a bare - of a class as RANGE."""
    for match in _ESCAPED.finditer(inner):
        digits = match[1] or match[2] or match[3] or match[4]
        if digits is not None:
            point = int(digits, 16)
            if point > 0x10FFFF or 0xD800 <= point < 0xE000:
                raise parser.refuse(f"{match[0]} is no character")
            yield chr(point)
        elif match[6] is not None:
            yield RANGE if where and match[6] == "-" else match[6]
        elif match[5] in _ESCAPES:
            yield _ESCAPES[match[5]]
        elif match[5].isalnum():
            raise parser.refuse(f"the escape {match[0]} is not known")
        else:
            yield match[5]

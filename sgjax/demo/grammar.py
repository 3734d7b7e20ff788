"""Templates for many phrasings: `(a|b)` chooses, `[a|b]` may leave out, `{x}` is a slot."""

import functools
import random
import re
import unicodedata
from collections.abc import Sequence

Node = str | tuple[bool, tuple[tuple["Node", ...], ...]]
_TOKENS = re.compile(r"[()\[\]|]|[^()\[\]|]+")
_SLOT = re.compile(r"\{(\w+)\}")


def _sequence(tokens: list[str], closing: str) -> tuple[tuple[Node, ...], ...]:
    """Reads alternatives up to `closing` from the reversed token list."""
    alternatives: list[tuple[Node, ...]] = []
    current: list[Node] = []
    while tokens:
        token = tokens.pop()
        if token == closing:
            break
        if token == "|":
            alternatives.append(tuple(current))
            current = []
        elif token in "([":
            current.append((token == "[", _sequence(tokens, ")" if token == "(" else "]")))
        else:
            current.append(token)
    alternatives.append(tuple(current))
    return tuple(alternatives)


@functools.cache
def _parse(template: str) -> tuple[Node, ...]:
    return _sequence(_TOKENS.findall(template)[::-1], "")[0]


def _write(rng: random.Random, nodes: tuple[Node, ...], out: list[str]) -> None:
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
        elif not node[0] or rng.random() < 0.4:
            _write(rng, rng.choice(node[1]), out)


def expand(rng: random.Random, template: str, **slots: str) -> str:
    """One phrasing of the template, drawn by `rng`; slot values are taken as they are."""
    out: list[str] = []
    _write(rng, _parse(template), out)
    return _SLOT.sub(lambda m: slots.get(m[1], m[0]), "".join(out))


def one_of(rng: random.Random, templates: Sequence[str], **slots: str) -> str:
    return expand(rng, rng.choice(templates), **slots)


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def without_article(text: str) -> str:
    return text.removeprefix("the ")


def joined(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def with_typo(rng: random.Random, text: str) -> str:
    """The text with one letter dropped, doubled or swapped with the next one."""
    places = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    kind = rng.randrange(3)
    middle = ("", text[i] * 2, text[i + 1] + text[i])[kind]
    return text[:i] + middle + text[i + (2 if kind == 2 else 1) :]


def without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c))

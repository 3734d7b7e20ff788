"""A JSON schema as a tree of schemas: which keywords hold others, and what a $ref points to."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

from sgjax.constrained.part import Part

MAPS = ("properties", "patternProperties", "$defs", "definitions")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
SINGLES = ("items", "additionalProperties", "additionalItems")
"""Keywords whose value is a schema for each key, a list of schemas, or one. `items` of older drafts
is a list."""

Schema = Any
"""An object or a bool."""


def children(schema: Schema, part: Part) -> Iterator[tuple[Part, Schema]]:
    """The schemas that stand directly in another; what is shaped wrongly is left out."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in MAPS and isinstance(value, dict):
            yield from ((part / keyword / key, each) for key, each in value.items())
        elif keyword in LISTS and isinstance(value, list):
            yield from ((part / keyword / index, each) for index, each in enumerate(value))
        elif keyword in SINGLES:
            yield part / keyword, value


def walk(schema: Schema, part: Part) -> Iterator[tuple[Part, Schema]]:
    """A schema and all within it, those of an object before those within them."""
    stack = [(part, schema)]
    while stack:
        place, found = stack.pop()
        yield place, found
        stack.extend(reversed(list(children(found, place))))


def rebuilt(schema: Schema, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Schema:
    """A copy in which every object was changed, the inner ones first."""
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in MAPS and isinstance(value, dict):
            out[keyword] = {key: rebuilt(each, change) for key, each in value.items()}
        elif keyword in LISTS and isinstance(value, list):
            out[keyword] = [rebuilt(each, change) for each in value]
        elif keyword in SINGLES:
            out[keyword] = rebuilt(value, change)
        else:
            out[keyword] = value
    return change(out)


def target(root: Schema, ref: str) -> tuple[tuple[str | int, ...], Schema] | None:
    """Where a local reference (`#/...`) leads, and what is there; None if there is nothing."""
    path: list[str | int] = []
    found = root
    for key in pointer_keys(ref):
        if isinstance(found, dict) and key in found:
            found = found[key]
            path.append(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
            path.append(int(key))
        else:
            return None
    return tuple(path), found


def pointer_keys(ref: str) -> list[str]:
    """The keys of `#/a/b~1c`."""
    keys = unquote(ref[1:]).split("/")[1:]
    return [key.replace("~1", "/").replace("~0", "~") for key in keys]


def plain_ref(ref: str) -> str:
    """The reference with all characters that are not ASCII in the way of addresses."""
    return "#" + "".join(f"/{quote(_escaped(key), safe='~$')}" for key in pointer_keys(ref))


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def is_local(ref: Any) -> bool:
    """Whether a reference is a pointer into the same document, and no name or address."""
    return isinstance(ref, str) and (ref == "#" or ref.startswith("#/"))

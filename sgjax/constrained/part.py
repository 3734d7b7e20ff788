"""Places in what a client sent, for errors that say which part is wrong; and JSON read so."""

import dataclasses
import json
import math
from typing import Any

from sgjax.errors import InvalidRequest

MAX_DEPTH = 64
"""Objects and lists within one another, in schemas and structural tags."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A part of a constraint: the field's name, and the keys that lead from there to the part."""

    param: str
    path: tuple[str | int, ...] = ()

    def __truediv__(self, key: str | int) -> "Part":
        return dataclasses.replace(self, path=(*self.path, key))

    @property
    def pointer(self) -> str:
        """The path as a JSON pointer: "/properties/a~1b"; empty for the whole."""
        keys = (str(key).replace("~", "~0").replace("/", "~1") for key in self.path)
        return "".join(f"/{key}" for key in keys)

    def refuse(self, message: str) -> InvalidRequest:
        place = f"{self.param} at {_short(self.pointer)}" if self.path else self.param
        return InvalidRequest(f"{place}: {message}", param=self.param)


def read_json(part: Part, text: str) -> Any:
    """The value of JSON text.

    Raises:
        InvalidRequest: it is no JSON, is nested deeper than MAX_DEPTH, or has a number or a string
            that no answer could have (1e999, a lone surrogate).
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise too_deep(part) from None
    except ValueError as error:
        raise part.refuse(f"this is not valid JSON: {error}.") from None
    check_values(part, value)
    return value


def too_deep(part: Part) -> InvalidRequest:
    return part.refuse(f"objects and lists may be nested {MAX_DEPTH} deep, not deeper.")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def check_values(part: Part, value: Any) -> None:
    """Raises InvalidRequest for a value of JSON that is nested too deeply or cannot be written."""
    level = [(part, value)]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for each in level for inner in _inside(*each)]
    if level:
        raise too_deep(part)


def _inside(part: Part, value: Any) -> list[tuple[Part, Any]]:
    if isinstance(value, dict):
        for key in value:
            _check_text(part, key)
        return [(part / key, each) for key, each in value.items()]
    if isinstance(value, list):
        return [(part / index, each) for index, each in enumerate(value)]
    if isinstance(value, str):
        _check_text(part, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise part.refuse("this number is too large.")
    return []


def _check_text(part: Part, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise part.refuse("a string has a lone surrogate, which is no text.") from None


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:120]}...{text[-77:]}"

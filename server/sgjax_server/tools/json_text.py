"""JSON as models write it, passed on while it comes."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from sgjax_server.tools.scanner import (
    WAIT,
    Arguments,
    Begin,
    Emit,
    Reading,
    Source,
    Text,
    collect,
    skip,
    skip_space,
)

ARGUMENT_KEYS = ("arguments", "parameters")

_SCALAR = re.compile(r"[\w.+-]*")
_OUTSIDE_STRINGS = re.compile(r"[\s\w.+:,-]*")
_PLAIN = re.compile(r'[^"\\]*')
_CONTROLS = {code: json.dumps(chr(code))[1:-1] for code in range(0x20)}
"""Line ends and the like within strings, which models forget to escape."""


def json_value(source: Source, emit: Emit = Text) -> Reading[bool]:
    """Passes on the value that comes next, as it is written; whether it was whole.

    It is left at the first character that cannot stand there; brackets are only counted.
    """
    first = yield from skip_space(source)
    if first not in ("{", "[", '"'):
        yield from _scalar(source, emit)
        return bool(first) and not source.is_over
    scan = _Scan()
    while True:
        text = scan.take(source)
        yield emit(text)
        if scan.is_done or scan.is_stuck or source.is_over:
            return scan.is_done
        yield WAIT


def _scalar(source: Source, emit: Emit) -> Reading[None]:
    while True:
        yield emit(source.match(_SCALAR))
        if source.is_over or not source.is_empty:
            return
        yield WAIT


class _Scan:
    """How far a bracketed value or a string has come."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self.is_done = False
        self.is_stuck = False
        """The next character cannot stand in JSON."""

    def take(self, source: Source) -> str:
        """Reads as much as is there and belongs to the value."""
        out = []
        while not (self.is_done or self.is_stuck):
            if self._in_string:
                out.append(source.match(_PLAIN).translate(_CONTROLS))
            else:
                out.append(source.match(_OUTSIDE_STRINGS))
            next_one = source.peek(2)
            if not next_one or next_one == "\\":
                break  # what is escaped has not come
            if self._in_string and next_one[0] == "\\":
                out.append(source.read(2).translate(_CONTROLS))
            elif self._may_stand(next_one[0]):
                out.append(source.read(1))
        return "".join(out)

    def _may_stand(self, character: str) -> bool:
        """Counts a quote or bracket; whether it is one."""
        if character == '"':
            self._in_string = not self._in_string
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
        else:
            self.is_stuck = True
            return False
        self.is_done = self._depth == 0 and not self._in_string
        return True


def json_string(source: Source) -> Reading[str | None]:
    """The string that comes next; None if it is none."""
    texts: list[str] = []
    yield from collect(json_value(source), texts)
    value = loads("".join(texts))
    return value if isinstance(value, str) else None


def json_arguments(source: Source) -> Reading[bool]:
    """Passes on the arguments of a call; whether they were whole.

    Some models write the object as a string; null stands for none at all.
    """
    first = yield from skip_space(source)
    if first == "{":
        return (yield from json_value(source, Arguments))
    texts: list[str] = []
    is_whole = yield from collect(json_value(source), texts)
    text = "".join(texts)
    value = loads(text)
    if isinstance(value, str) and isinstance(loads(value), dict):
        text = value
    yield Arguments("{}" if text == "null" else text)
    return is_whole


def json_call(source: Source, is_name: Callable[[str], bool] = bool) -> Reading[bool]:
    """Reads {"name": ..., "arguments": {...}}, in any order; whether it was a call.

    If not, nothing was passed on, and the caller, who called `source.keep` before it, has the text
    by `source.back`. Other keys are passed over.
    """
    name, held, has_arguments = None, None, False
    if not (yield from skip(source, "{")):
        return False
    while (first := (yield from skip_space(source))) in ('"', ","):
        if first == ",":
            source.read(1)
            continue
        key = yield from json_string(source)
        if (yield from skip_space(source)) != ":":
            break
        source.read(1)
        if key == "name" and name is None:
            name = yield from json_string(source)
            if name is None or not is_name(name):
                return False
            source.drop()
            yield Begin(name)
            yield Arguments(held or "")
        elif key in ARGUMENT_KEYS and not has_arguments:
            has_arguments = True
            if name is None:
                texts: list[str] = []
                yield from collect(json_arguments(source), texts)
                held = "".join(texts)
            else:
                yield from json_arguments(source)
        else:
            yield from collect(json_value(source), [])
    if name is None:
        return False
    if (yield from skip(source, "}")) and not has_arguments:
        yield Arguments("{}")
    return True


def loads(text: str) -> Any:
    """The value of a JSON text; Ellipsis if it is none, or could not be written as JSON again."""
    try:
        value = json.loads(text, strict=False, parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return ...
    return value


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(text)


def _refuse(text: str) -> Any:
    raise ValueError(text)

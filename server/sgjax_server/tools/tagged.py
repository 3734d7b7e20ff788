"""Arguments between tags, each value as text: what Qwen3-Coder and GLM 4.5 write.

    <parameter=city>             <arg_key>city</arg_key>
    Paris                        <arg_value>Paris</arg_value>
    </parameter>

A string stands there as it is; other values as JSON. What a value is, the tool's schema says.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sgjax.errors import InvalidRequest
from sgjax_server.tools.json_text import loads
from sgjax_server.tools.lark import ANY_TEXT, Lark, any_of
from sgjax_server.tools.scanner import (
    Arguments,
    Reading,
    Source,
    collect_until,
    next_is,
    skip,
    skip_space,
    text_until,
)
from sgjax_server.tools.tool import Tool
from sgjax_server.tools.values import python_value

_KINDS = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    list: "array",
    dict: "object",
}
_ALL_KINDS = frozenset(_KINDS.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tags:
    """What stands around keys and values."""

    key: str
    key_end: str
    value: str = ""
    value_end: str
    pad: str = ""
    """Stands at both ends of a value, and is no part of it."""
    between: str = ""
    """Between key_end and value, as a model writes it; any white space is read."""

    def begin_of(self, name: str) -> str:
        return f"{self.key}{name}{self.key_end}{self.between}{self.value}{self.pad}"

    @property
    def end(self) -> str:
        return f"{self.pad}{self.value_end}"


def read_tagged(source: Source, tags: Tags, tool: Tool | None, closing: str) -> Reading[None]:
    """Passes on the arguments that come next, as a JSON object, up to the `closing` tag. Where the
    text ends before it the object stays open, so that nobody takes it for whole.
    """
    properties = tool.properties if tool else {}
    opening = "{"
    while True:
        yield from skip_space(source)
        if not (yield from skip(source, tags.key)):
            break
        name, end = yield from collect_until(source, [tags.key_end])
        if end is None:
            return
        if tags.value:
            yield from skip_space(source)
            yield from skip(source, tags.value)
        yield Arguments(f"{opening}{json.dumps(name.strip(), ensure_ascii=False)}: ")
        opening = ", "
        if tags.pad:
            yield from skip(source, tags.pad)
        kinds = kinds_of(properties.get(name.strip()), tool.parameters if tool else {})
        if not (yield from _value(source, tags, kinds)):
            return
    if (yield from next_is(source, closing)) or not source.is_over:
        yield Arguments("{}" if opening == "{" else "}")


def _value(source: Source, tags: Tags, kinds: frozenset[str]) -> Reading[bool]:
    """Passes on a value; whether it was whole."""
    ends = [tags.end, tags.value_end]
    if kinds == {"string"}:
        yield Arguments('"')
        end = yield from text_until(source, ends, lambda text: Arguments(_escaped(text)))
        yield Arguments('"' if end else "")
    else:
        text, end = yield from collect_until(source, ends)
        yield Arguments(_as_json(text, kinds) if end else "")
    return end is not None


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _as_json(text: str, kinds: frozenset[str]) -> str:
    """The value that a text means, where it may be of these kinds; as JSON."""
    for value in _readings(text.strip()):
        kind = _KINDS[type(value)]
        if kind in kinds or (kind == "integer" and "number" in kinds):
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return json.dumps(text, ensure_ascii=False)


def _readings(text: str) -> Iterator[Any]:
    """What it is as JSON, or else in Python."""
    value = loads(text)
    if value is ...:
        value = python_value(text)
    if value is not ...:
        yield value


def kinds_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> frozenset[str]:
    """The JSON types that a schema allows; all, where it says nothing that is understood."""
    if not isinstance(schema, Mapping) or depth > 8:
        return _ALL_KINDS
    if isinstance(reference := schema.get("$ref"), str):
        return kinds_of(_resolved(reference, root), root, depth + 1)
    if "type" in schema:
        said = schema["type"]
        names = said if isinstance(said, list) else [said]
        return frozenset(name for name in names if isinstance(name, str))
    if isinstance(
        values := schema.get("enum", [schema["const"]] if "const" in schema else None), list
    ):
        return frozenset(_KINDS.get(type(value), "object") for value in values)
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list):
        return frozenset().union(*(kinds_of(option, root, depth + 1) for option in options))
    return _ALL_KINDS


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def lark_tagged(tags: Tags, separator: str, tool: Tool, lark: Lark) -> str:
    """Lark for arguments by the tool's schema: those that are required, and any of the others."""
    required = set(tool.parameters.get("required") or ())
    parts = []
    for name, schema in tool.properties.items():
        part = f"{lark.text(tags.begin_of(name))} {_lark_value(tags, schema, tool, lark)}"
        part = f"{part} {lark.text(separator)}" if separator else part
        parts.append(part if name in required else f"({part})?")
    return " ".join(parts)


def _lark_value(tags: Tags, schema: Any, tool: Tool, lark: Lark) -> str:
    schema = schema if isinstance(schema, Mapping) else {}
    if kinds_of(schema, tool.parameters) != {"string"}:
        definitions = {
            key: tool.parameters[key] for key in ("$defs", "definitions") if key in tool.parameters
        }
        return f"{lark.json_as_shown({**definitions, **schema})} {lark.text(tags.end)}"
    target = _resolved(schema["$ref"], tool.parameters) if "$ref" in schema else schema
    values = target.get("enum", [target["const"]] if "const" in target else None)
    if values:
        return f"{any_of([lark.text(value) for value in values])} {lark.text(tags.end)}"
    pattern = _pattern_of(target)
    if pattern is None:
        return lark.text_before(tags.value_end)
    return lark.match_before(pattern, tags.end, tags.value_end)


def _pattern_of(schema: Mapping[str, Any]) -> str | None:
    """A string's limits as a regex of all of it; None: it has none."""
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if isinstance(pattern := schema.get("pattern"), str):
        core = pattern.removeprefix("^").removesuffix("$")
        if core != pattern and _has_alternatives(core):
            raise InvalidRequest(
                f"The pattern {pattern!r:.100} cannot bind a call of this model: put what stands "
                "between ^ and $ in a group.",
                param="tools",
            )
        before = "" if pattern.startswith("^") else ANY_TEXT
        after = "" if pattern.endswith("$") else ANY_TEXT
        return f"{before}({core}){after}"
    if low or high is not None:
        return rf"(.|\n){{{low},{'' if high is None else high}}}"
    return None


def _has_alternatives(pattern: str) -> bool:
    """Whether a "|" stands outside of groups and classes."""
    plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", pattern)
    depth = 0
    for character in plain:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            return True
    return False

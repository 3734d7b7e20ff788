"""Llama 3.2 and 4, and others: [f(city="Paris", days=3), g()]: Python, read without running any.

https://www.llama.com/docs/model-cards-and-prompt-formats/llama4/

Without <|python_start|> nothing tells calls from an answer that is a list, but their place and
their names: they are the first of the output, and name tools.
"""

import itertools
import json
import re
from collections.abc import Mapping

from sgjax_server.tools.format import NAME, CallForm, ToolFormat
from sgjax_server.tools.json_text import loads
from sgjax_server.tools.lark import Lark
from sgjax_server.tools.scanner import (
    WAIT,
    Arguments,
    Begin,
    Reading,
    Source,
    Text,
    skip,
    skip_after_space,
    skip_space,
    text_until,
)
from sgjax_server.tools.tool import Tool, Tools
from sgjax_server.tools.values import python_value

BEGIN, END = "<|python_start|>", "<|python_end|>"
_NAME = re.compile(r"[\w.-]*")
_KEYWORD = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)")
_PLAIN = {
    "": re.compile(r"""[^'"()\[\]{},\\]*"""),
    "'": re.compile(r"[^'\\]*"),
    '"': re.compile(r'[^"\\]*'),
}
"""What needs no look, by the quote it stands in."""
_DEFINITIONS = ("$defs", "definitions")


def read(source: Source, tools: Tools) -> Reading[None]:
    source.keep()
    if (yield from skip_space(source)) == "[":
        yield from _calls(source, "", tools)
    else:
        yield Text(source.back())
    while (yield from text_until(source, [BEGIN])):
        source.keep()
        yield from skip_space(source)
        yield from _calls(source, BEGIN, tools)


def _calls(source: Source, tag: str, tools: Tools) -> Reading[None]:
    """A list of calls; `source.keep` was called before it. What is none becomes text."""
    yield from skip(source, "[")
    while True:
        yield from skip_space(source)
        name = yield from _name(source)
        if name not in tools or not (yield from skip(source, "(")):
            yield Text(tag + source.back())
            return
        source.drop()
        yield Begin(name)
        if not (yield from _arguments(source, tools[name])):
            return
        if (yield from skip_space(source)) == ",":
            source.read(1)
            yield from skip_space(source)
        if (yield from skip(source, "]")):
            yield from skip_after_space(source, END)
            return
        tag = ""
        source.keep()


def _name(source: Source) -> Reading[str]:
    name = ""
    while True:
        name += source.match(_NAME)
        if source.is_over or not source.is_empty:
            return name
        yield WAIT


def _arguments(source: Source, tool: Tool) -> Reading[bool]:
    """Passes on the arguments up to the closing bracket, as a JSON object; whether it came."""
    opening, names = "{", [*tool.properties]
    for position in itertools.count():
        text, end = yield from _argument(source)
        if not end:
            return False
        if text.strip():
            found = _KEYWORD.match(text)
            name = found[1] if found else names[position] if position < len(names) else position
            value = _as_json(text[found.end() :] if found else text)
            yield Arguments(f"{opening}{json.dumps(str(name))}: {value}")
            opening = ", "
        if end == ")":
            break
    yield Arguments("{}" if opening == "{" else "}")
    return True


def _argument(source: Source) -> Reading[tuple[str, str]]:
    """The text up to a comma or bracket that ends an argument, and that one; "": none came."""
    texts, depth, quote = [], 0, ""
    while True:
        texts.append(source.match(_PLAIN[quote]))
        if source.is_empty or (source.peek(2) == "\\" and not source.is_over):
            if source.is_over:
                return "".join(texts), ""
            yield WAIT
            continue
        next_one = source.read(2 if source.peek(1) == "\\" else 1)
        if quote:
            quote = "" if next_one == quote else quote
        elif next_one in "\"'":
            quote = next_one
        elif depth == 0 and next_one in ",)":
            return "".join(texts), next_one
        else:
            depth += 1 if next_one in "([{" else -1 if next_one in ")]}" else 0
        texts.append(next_one)


def _as_json(text: str) -> str:
    """A value as JSON, read as JSON or as Python; else as a string."""
    value = loads(text)
    if value is ...:
        value = python_value(text)
    return json.dumps(text.strip() if value is ... else value, ensure_ascii=False)


def _lark_arguments(tool: Tool, lark: Lark) -> str:
    """Lark for `key=JSON`, in the schema's order, those that are not required left out at will."""
    required = set(tool.parameters.get("required") or ())
    first = following = ""  # what may come from here on: as the first, or behind others
    for name, schema in reversed([*tool.properties.items()]):
        inherited = {key: tool.parameters[key] for key in _DEFINITIONS if key in tool.parameters}
        schema = {**inherited, **(schema if isinstance(schema, Mapping) else {})}
        part = f"{lark.text(name)} {lark.text('=')} {lark.json_as_shown(schema)}"
        behind = f'", " {part} {following}'
        here = f"{part} {following}"
        if name in required:
            first, following = lark.rule(here), lark.rule(behind)
        else:
            first = lark.rule(f"{here} | {first}" if first else f"({here})?")
            following = lark.rule(f"{behind} | {following}" if following else f"({behind})?")
    return first


_FORM = CallForm(
    trigger="",
    tag=BEGIN,
    tag_end=END,
    opening="[",
    begin=f"{NAME}(",
    end=")",
    between=", ",
    closing="]",
    arguments=_lark_arguments,
)

FORMAT = ToolFormat(read=read, form=lambda _: _FORM, markers=(BEGIN, END))

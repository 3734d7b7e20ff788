"""What a format of tool calls is: how calls are read, and how a grammar forces them."""

import dataclasses
import uuid
from collections.abc import Callable, Container
from typing import Any

from sgjax_server.tools.lark import Lark
from sgjax_server.tools.scanner import Reading, Source
from sgjax_server.tools.tool import Tool, Tools

NAME = "\0name"
"""Stands for a tool's name in a CallForm."""
NUMBER = "\0number"
"""Stands for the digits of a number."""


def json_arguments_of(tool: Tool, lark: Lark) -> str:
    """Lark for arguments as a JSON object."""
    return lark.json_as_shown(closed(tool.parameters))


def closed(parameters: Any) -> dict[str, Any]:
    """The schema, of which the properties are all there are unless it says otherwise."""
    schema = {"type": "object", **parameters}
    if "properties" in schema and not schema.keys() & {"patternProperties", "$ref", "allOf"}:
        schema.setdefault("additionalProperties", False)
    return schema


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallForm:
    """How calls are written, for a grammar:

    opening begin ARGUMENTS end (between begin ARGUMENTS end)* closing
    """

    trigger: str
    """The beginning of `opening`, or of `begin`, that no other text has; "": calls stand alone, and
    other text does not begin with the first character of one."""
    begin: str
    end: str
    opening: str = ""
    between: str = ""
    closing: str = ""
    arguments: Callable[[Tool, Lark], str] = json_arguments_of
    before: Callable[[Lark], str] | None = None
    """Lark for what may come before a call that must come."""
    answer_begin: str = ""
    """Stands before an answer that is no call."""
    tag: str = ""
    """A special token that may stand before the first call, and must where a bound answer could
    begin as one does."""
    tag_end: str = ""
    is_single: bool = False
    """Whether the model ends after one call."""


def new_call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToolFormat:
    """A format of tool calls."""

    read: Callable[[Source, Tools], Reading[None]]
    """Yields Text, and for each call Begin and then Arguments."""
    form: Callable[[Container[str]], CallForm]
    """How calls are written, by the special tokens that the tokenizer has."""
    markers: tuple[str, ...]
    """Texts that may be special tokens, and are wanted in the output even so."""
    new_id: Callable[[], str] = new_call_id
    reasoning: str | None = None
    """The reasoning parser that this format cannot be read without."""

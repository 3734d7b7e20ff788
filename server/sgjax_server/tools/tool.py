"""The tools of a request, and which of them may or must be called."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidRequest

NAME = "[a-zA-Z0-9_.-]{1,64}"
"""What names of tools are like, as a regex."""


@dataclasses.dataclass(frozen=True)
class Tool:
    """A function that the model may call."""

    name: str
    parameters: Mapping[str, Any]
    """The JSON schema of its arguments, an object's."""
    is_strict: bool = False
    """Whether calls must match the schema."""

    @property
    def properties(self) -> Mapping[str, Any]:
        return self.parameters.get("properties") or {}


Tools = Mapping[str, Tool]


@dataclasses.dataclass(frozen=True)
class ToolChoice:
    """Which tools may be called, and whether one must be."""

    tools: Tools
    is_forced: bool = False
    is_parallel: bool = True
    """Whether there may be several calls."""

    @property
    def is_bound(self) -> bool:
        """Whether calls must be such as a grammar says."""
        return self.is_forced or any(tool.is_strict for tool in self.tools.values())


def read_choice(
    given: Sequence[Any] | None, choice: Any, *, is_parallel: bool = True
) -> ToolChoice | None:
    """What `tools` and `tool_choice` say in OpenAI's form; None: nothing may be called.

    Raises:
        InvalidRequest: one of them is misshapen, or they do not fit together.
    """
    kind = choice.get("type") if isinstance(choice, Mapping) else choice
    if kind not in (None, "none", "auto", "required", "function"):
        raise InvalidRequest(
            "tool_choice must be 'none', 'auto', 'required', or "
            '{"type": "function", "function": {"name": ...}}, not ' + f"{choice!r:.100}.",
            param="tool_choice",
        )
    if not given:
        if kind not in (None, "none", "auto"):
            raise InvalidRequest(
                "tool_choice asks for a call, but there are no tools. Give tools, or leave it out.",
                param="tool_choice",
            )
        return None
    tools = read_tools(given)
    if kind == "none":
        return None
    if kind == "function":
        name = _chosen(choice)
        if name not in tools:
            raise InvalidRequest(
                f"tool_choice names {name!r}, which is none of the tools: {', '.join(tools)}.",
                param="tool_choice",
            )
        return ToolChoice({name: tools[name]}, True, False)
    return ToolChoice(tools, kind == "required", is_parallel)


def _chosen(choice: Any) -> Any:
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise InvalidRequest(
            'tool_choice must be like {"type": "function", "function": {"name": "get_time"}}.',
            param="tool_choice",
        )
    return name


def read_tools(given: Any) -> Tools:
    """The tools by name, in order. Raises InvalidRequest if one is misshapen."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InvalidRequest("tools must be a list.", param="tools")
    tools: dict[str, Tool] = {}
    for index, each in enumerate(given):
        tool = _tool(each, f"tools[{index}]")
        if tool.name in tools:
            raise InvalidRequest(
                f"tools[{index}].function.name: there is a tool {tool.name!r} already. Give each "
                "its own name.",
                param=f"tools[{index}].function.name",
            )
        tools[tool.name] = tool
    return tools


def _tool(given: Any, where: str) -> Tool:
    function = given.get("function") if isinstance(given, Mapping) else None
    kind = given.get("type", "function") if isinstance(given, Mapping) else None
    if kind != "function" or not isinstance(function, Mapping):
        raise InvalidRequest(
            f'{where} must be like {{"type": "function", "function": {{"name": ...}}}}; other '
            "types are not supported.",
            param=where,
        )
    name = function.get("name")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise InvalidRequest(
            f"{where}.function.name must have 1 to 64 letters, digits, '_', '-' or '.', not "
            f"{name!r:.100}.",
            param=f"{where}.function.name",
        )
    strict = function.get("strict")
    for key, kind, words in (("strict", bool, "true or false"), ("description", str, "a string")):
        if not isinstance(function.get(key), kind | None):
            raise InvalidRequest(
                f"{where}.function.{key} must be {words}.", param=f"{where}.function.{key}"
            )
    return Tool(name, _parameters(function.get("parameters"), where), bool(strict))


def _parameters(given: Any, where: str) -> Mapping[str, Any]:
    """The schema, as far as it can be seen to be one. (A grammar needs to know more of it.)"""
    param = f"{where}.function.parameters"
    if given is None:
        return {"type": "object", "properties": {}}
    if not isinstance(given, Mapping) or given.get("type", "object") != "object":
        raise InvalidRequest(f"{param} must be the JSON schema of an object.", param=param)
    properties = given.get("properties") or {}
    if not isinstance(properties, Mapping) or not all(
        isinstance(schema, Mapping | bool) for schema in properties.values()
    ):
        raise InvalidRequest(
            f"{param}.properties must have a schema for each name.", param=f"{param}.properties"
        )
    required = given.get("required") or []
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise InvalidRequest(
            f"{param}.required must be a list of names.", param=f"{param}.required"
        )
    return given

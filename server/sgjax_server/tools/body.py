"""Tools in the bodies of requests, as the OpenAPI document has them; tool.py checks them."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from sgjax_server.tools.tool import NAME

_FUNCTION_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": f"^{NAME}$"},
        "description": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
        "strict": {"type": ["boolean", "null"]},
    },
    "required": ["name"],
}
_TOOL_SCHEMA = {
    "type": "object",
    "properties": {"type": {"const": "function"}, "function": _FUNCTION_SCHEMA},
    "required": ["function"],
}
_CHOICE_SCHEMA = {
    "anyOf": [
        {"enum": ["none", "auto", "required"]},
        {
            "type": "object",
            "properties": {
                "type": {"const": "function"},
                "function": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                },
            },
            "required": ["type", "function"],
        },
    ]
}
ToolDefinition = Annotated[dict[str, Any], WithJsonSchema(_TOOL_SCHEMA)]
ToolChoiceBody = Annotated[str | dict[str, Any], WithJsonSchema(_CHOICE_SCHEMA)]

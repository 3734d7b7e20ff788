"""Prompts as clients write them: texts, token ids, lists of these, or the messages of a chat."""

from array import array
from typing import Annotated, Any

from pydantic import WithJsonSchema
from pydantic.functional_validators import AfterValidator

from sgjax.front.token_ids import MAX_ID, extremes, int32


def check_prompts(value: Any) -> Any:
    """One of four shapes. Told apart by hand: a union's errors would speak of all four."""
    if isinstance(value, str) or _are_texts(value):
        return value
    if (found := ids_of(value)) is not None:
        return found
    raise ValueError(
        "must be a string, a list of strings, a list of token ids (integers from 0), or a list of "
        "such lists; no list may be empty"
    )


def _check_input_ids(value: Any) -> Any:
    if value is None:
        return None
    if (found := ids_of(value)) is not None:
        return found
    raise ValueError(
        "must be a list of token ids (integers from 0), or a list of such lists; no list may be "
        "empty"
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def ids_of(value: Any) -> array | list[array] | None:
    """A list of ids as int32, or a list of such lists; None if it is neither."""
    if (ids := _one_list(value)) is not None:
        return ids
    if not isinstance(value, list) or not value:
        return None
    lists = [_one_list(each) for each in value]
    found = [ids for ids in lists if ids is not None]
    return found if len(found) == len(lists) else None


def _one_list(value: Any) -> array | None:
    ids = int32(value) if isinstance(value, list) and value else None
    return None if ids is None or extremes(ids)[0] < 0 else ids


_ID_SCHEMA = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
IDS_SCHEMA = {"type": "array", "items": _ID_SCHEMA, "minItems": 1}
BATCH_SCHEMA = {"type": "array", "items": IDS_SCHEMA, "minItems": 1}
TEXTS_SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Prompts = Annotated[
    Any,
    AfterValidator(check_prompts),
    WithJsonSchema({"anyOf": [{"type": "string"}, TEXTS_SCHEMA, IDS_SCHEMA, BATCH_SCHEMA]}),
]
InputIds = Annotated[
    Any,
    AfterValidator(_check_input_ids),
    WithJsonSchema({"anyOf": [IDS_SCHEMA, BATCH_SCHEMA, {"type": "null"}]}),
]

ROLES = ("system", "developer", "user", "assistant", "tool")
_PART_SCHEMA = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_CALL_SCHEMA = {
    "type": "object",
    "properties": {"function": {"type": "object"}},
    "required": ["function"],
}
_CONTENT_SCHEMAS = [
    {"type": "string"},
    {"type": "array", "items": {"anyOf": [_PART_SCHEMA, {"type": "string"}]}},
]
_OTHERS_SCHEMA = {
    "type": "object",
    "properties": {
        "role": {"enum": [role for role in ROLES if role != "assistant"]},
        "content": {"anyOf": _CONTENT_SCHEMAS},
    },
    "required": ["role", "content"],
}
_ASSISTANT_SCHEMA = {
    "type": "object",
    "properties": {
        "role": {"const": "assistant"},
        "content": {"anyOf": [*_CONTENT_SCHEMAS, {"type": "null"}]},
        "tool_calls": {"anyOf": [{"type": "array", "items": _CALL_SCHEMA}, {"type": "null"}]},
    },
    "required": ["role"],
}
Message = Annotated[dict[str, Any], WithJsonSchema({"anyOf": [_OTHERS_SCHEMA, _ASSISTANT_SCHEMA]})]
"""Checked where it is rendered: sgjax.text."""

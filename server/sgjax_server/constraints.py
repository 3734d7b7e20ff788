"""What clients say to bind an output, and which field of SamplingParams that is."""

from collections.abc import Iterator, Mapping
from typing import Any

from sgjax.constrained.json_options import OPTIONS
from sgjax.constrained.json_schema import ANY_OBJECT
from sgjax.constrained.part import Part, read_json
from sgjax.constrained.strict import closed
from sgjax.constraint_fields import json_text
from sgjax.errors import InvalidRequest
from sgjax_server.constraint_bodies import (
    ConstraintFields,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    StructuralTagFormat,
    StructuredOutputs,
)


def read_constraint(body: ConstraintFields) -> dict[str, Any]:
    """What binds the output, by its name in SamplingParams; empty if nothing does.

    Raises:
        InvalidRequest: more than one is given, or a strict schema cannot be closed.
    """
    found = list(_given(body))
    if len(found) > 1:
        (first, _, _), (second, _, _), *_ = found
        raise InvalidRequest(
            f"The output can be bound by one constraint only, but both {first} and {second} are "
            "given. Leave out one of them.",
            param=second,
        )
    return {name: value for _, name, value in found}


def read_format(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same of a `response_format` alone, which was checked to be one."""
    return read_constraint(ConstraintFields.model_validate({"response_format": found}))


def _given(body: ConstraintFields) -> Iterator[tuple[str, str, Any]]:
    """What is given: as the client calls it, as SamplingParams does, and its value."""
    if body.response_format is not None:
        yield from _of_format(body.response_format)
    for said, name in _PLAIN.items():
        value = getattr(body, said)
        if value is not None:
            yield said, name, value
    if body.structured_outputs is not None:
        yield from _of_vllm(body.structured_outputs)


_PLAIN = {
    "regex": "regex",
    "json_schema": "json_schema",
    "ebnf": "ebnf",
    "structural_tag": "structural_tag",
    "guided_json": "json_schema",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "ebnf",
}
_OF_VLLM = {
    "json_": "json_schema",
    "regex": "regex",
    "choice": "choice",
    "grammar": "ebnf",
    "structural_tag": "structural_tag",
}


def _of_format(found: ResponseFormat) -> Iterator[tuple[str, str, Any]]:
    if isinstance(found, JsonObjectFormat):
        yield "response_format", "json_schema", ANY_OBJECT
    elif isinstance(found, JsonSchemaFormat):
        schema = found.json_schema.schema_
        if found.json_schema.strict:
            schema = closed(Part("json_schema"), _checked(schema))
        yield "response_format", "json_schema", schema
    elif isinstance(found, StructuralTagFormat):
        parts = {name: getattr(found, name) for name in ("structures", "triggers", "format")}
        given = {name: value for name, value in parts.items() if value is not None}
        yield "response_format", "structural_tag", given


def _of_vllm(found: StructuredOutputs) -> Iterator[tuple[str, str, Any]]:
    spaces = found.whitespace_pattern
    is_json = found.json_ is not None or found.json_object
    if spaces is not None and not is_json:
        raise InvalidRequest(
            "whitespace_pattern is for json and json_object only. Leave it out.",
            param="structured_outputs.whitespace_pattern",
        )
    for field, name in _OF_VLLM.items():
        value = getattr(found, field)
        if value is not None:
            if field == "json_" and spaces is not None:
                value = _with_spaces(value, spaces)
            yield f"structured_outputs.{field.rstrip('_')}", name, value
    if found.json_object:
        schema = {"type": "object"}
        value = ANY_OBJECT if spaces is None else _with_spaces(schema, spaces)
        yield "structured_outputs.json_object", "json_schema", value


def _with_spaces(schema: dict[str, Any] | str, pattern: str) -> dict[str, Any]:
    value = _checked(schema)
    if not isinstance(value, dict):
        raise Part("json_schema").refuse("with whitespace_pattern the schema must be an object.")
    return value | {OPTIONS: {"whitespace_pattern": pattern}}


def _checked(schema: dict[str, Any] | str) -> Any:
    """A schema whose nesting is bounded."""
    return read_json(Part("json_schema"), json_text("json_schema", schema))


_SAID: dict[str, tuple[tuple[str, ...], ...]] = {
    "json_schema": (
        ("response_format", "json_schema", "schema"),
        ("structured_outputs", "json"),
        ("guided_json",),
        ("text", "format", "schema"),
        ("output_config", "format", "schema"),
        ("response_format",),
        ("structured_outputs", "json_object"),
    ),
    "regex": (("structured_outputs", "regex"), ("guided_regex",)),
    "choice": (("structured_outputs", "choice"), ("guided_choice",)),
    "ebnf": (("structured_outputs", "grammar"), ("guided_grammar",), ("tools",)),
    "structural_tag": (("structured_outputs", "structural_tag"), ("response_format",)),
    "min_new_tokens": (("min_tokens",),),
}
"""Where a client may have said what SamplingParams call so."""
RENAMED = frozenset(_SAID)


def as_said(error: InvalidRequest, body: Any) -> InvalidRequest:
    """An error whose param is one of RENAMED, by the name that the client used."""
    name = str(error.param)
    said = next((path for path in _SAID[name] if _has(body, path)), None)
    if said is None or _has(body, (name,)):
        return error
    new = ".".join(said)
    message = error.message
    if message.startswith(name):
        message = new + message[len(name) :]
    return InvalidRequest(message, param=new)


def _has(body: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(body, Mapping) or body.get(key) is None:
            return False
        body = body[key]
    return True

"""What OpenAI's `strict` adds to a JSON schema: objects have no properties but the named ones."""

from typing import Any

from sgjax.constrained.part import Part
from sgjax.constrained.schema_tree import Schema, rebuilt, walk

_COMBINED = ("$ref", "allOf")


def closed(part: Part, schema: Schema) -> Schema:
    """A schema in which every object is closed that has `properties` and does not say otherwise.

    Raises:
        InvalidRequest: it combines objects that would then exclude one another.
    """
    for place, found in walk(schema, part):
        if isinstance(found, dict):
            _check_combined(place, found)
    return rebuilt(schema, _closed)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in schema or "patternProperties" in schema:
        return schema
    return {"additionalProperties": False} | schema


def _check_combined(place: Part, schema: dict[str, Any]) -> None:
    parts = schema.get("allOf")
    has_properties = "properties" in schema and any(key in schema for key in _COMBINED)
    if has_properties or (isinstance(parts, list) and len(parts) > 1):
        raise place.refuse(
            "strict closes every object, so the parts of this would exclude one another. Merge "
            "them into one object, or set strict to false."
        )

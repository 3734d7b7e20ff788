"""oneOf as anyOf, where no value could match two of the alternatives.

llguidance tells few of these apart by itself, and pydantic's tagged unions are oneOf.
"""

import itertools
import json
from typing import Any

from sgjax.constrained.schema_tree import Schema, is_local, target

_MAX_HOPS = 16
_ALL_TYPES = frozenset(("array", "boolean", "null", "number", "object", "string"))


def with_any_of(schema: dict[str, Any], root: Schema) -> dict[str, Any]:
    """A schema with its oneOf replaced by an anyOf that means the same, if there is one."""
    parts = schema.get("oneOf")
    if not isinstance(parts, list) or not parts:
        return schema
    seen = [_followed(part, root) for part in parts]
    if not all(are_apart(a, b, root) for a, b in itertools.combinations(seen, 2)):
        return schema
    rest = {key: value for key, value in schema.items() if key != "oneOf"}
    if "anyOf" not in rest:
        return rest | {"anyOf": parts}
    return rest | {"allOf": [*rest.get("allOf", []), {"anyOf": parts}]}


def are_apart(a: Schema, b: Schema, root: Schema) -> bool:
    """Whether it is sure that no value matches both. False says nothing."""
    if a is False or b is False:
        return True
    if not isinstance(a, dict) or not isinstance(b, dict):
        return False
    types = _types(a) & _types(b)
    if not types:
        return True
    first, second = _values(a), _values(b)
    if first is not None and second is not None and not first & second:
        return True
    return types == {"object"} and (_tags_differ(a, b, root) or _keys_differ(a, b))


def _tags_differ(a: dict[str, Any], b: dict[str, Any], root: Schema) -> bool:
    """Whether a property that both must have has no value in common."""
    for name in _required(a) & _required(b):
        first, second = _property(a, name, root), _property(b, name, root)
        if first is None or second is None:
            continue
        of_first, of_second = _values(first), _values(second)
        if not _types(first) & _types(second):
            return True
        if of_first is not None and of_second is not None and not of_first & of_second:
            return True
    return False


def _keys_differ(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether one must have a property that the other may not have."""
    return any(
        each.get("additionalProperties") is False
        and not each.get("patternProperties")
        and bool(_required(other) - set(each.get("properties", ())))
        for each, other in ((a, b), (b, a))
    )


def _required(schema: dict[str, Any]) -> set[str]:
    names = schema.get("required", ())
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _property(schema: dict[str, Any], name: str, root: Schema) -> dict[str, Any] | None:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, dict) else None
    followed = _followed(found, root)
    return followed if isinstance(followed, dict) else None


def _followed(schema: Schema, root: Schema) -> Schema:
    """What a schema that is but a reference refers to."""
    for _ in range(_MAX_HOPS):
        ref = schema.get("$ref") if isinstance(schema, dict) else None
        found = target(root, str(ref)) if is_local(ref) else None
        if found is None:
            break
        schema = found[1]
    return schema


def _types(schema: dict[str, Any]) -> set[str]:
    """The types that a schema allows; an integer is a number."""
    if "type" in schema:
        said = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return {"number" if name == "integer" else name for name in said}
    values = _values(schema)
    if values is None:
        return set(_ALL_TYPES)
    return {_type_of(json.loads(value)) for value in values}


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "array", str: "string", int: "number", float: "number"}
    return names.get(type(value), "null")


def _values(schema: dict[str, Any]) -> set[str] | None:
    """The only values, written so that equal ones are written equally; None for any."""
    if "const" in schema:
        return {_written(schema["const"])}
    if isinstance(schema.get("enum"), list):
        return {_written(value) for value in schema["enum"]}
    return None


def _written(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""Whether values of a recursive schema can be finite."""

from typing import Any

from sgjax.constrained.part import Part
from sgjax.constrained.schema_tree import Schema, is_local, target, walk

_MAX_ROUNDS = 16
"""After so many the rest is taken to end: no schema that anybody means takes as long."""


def check_ends(part: Part, root: Schema) -> None:
    """Raises InvalidRequest for a reference to what cannot end without itself."""
    wanted: dict[tuple[str | int, ...], Schema] = {}
    for _, schema in walk(root, part):
        found = _target(schema, root)
        if found is not None:
            wanted[found[0]] = found[1]
    ending: set[tuple[str | int, ...]] = set()
    order = list(wanted)
    for _ in range(_MAX_ROUNDS):
        order.reverse()
        more = {path for path in order if path not in ending and _ends(wanted[path], root, ending)}
        if not more:
            break
        ending |= more
    else:
        return
    for path in wanted:
        if path not in ending:
            place = Part(part.param, (*part.path, *path))
            raise place.refuse(
                "no value can match this: it always needs another like itself within. Let the "
                "reference be optional, nullable, or items of a list that may be empty."
            )


def _target(schema: Schema, root: Schema) -> tuple[tuple[str | int, ...], Schema] | None:
    ref = schema.get("$ref") if isinstance(schema, dict) else None
    return target(root, str(ref)) if is_local(ref) else None


def _ends(schema: Schema, root: Schema, ending: set[tuple[str | int, ...]]) -> bool:
    """Whether there is a finite value, if there is one for each of `ending`."""
    if not isinstance(schema, dict):
        return True
    found = _target(schema, root)
    if found is not None and found[0] not in ending:
        return False
    if not all(_ends(each, root, ending) for each in _list(schema, "allOf")):
        return False
    for keyword in ("anyOf", "oneOf"):
        choices = _list(schema, keyword)
        if choices and not any(_ends(each, root, ending) for each in choices):
            return False
    if "const" in schema or "enum" in schema:
        return True
    said = schema.get("type")
    types = said if isinstance(said, list) else [said]
    if set(types) - {"object", "array"}:
        return True
    needs = [_needed_properties(schema)] if "object" in types else []
    needs += [_needed_items(schema)] if "array" in types else []
    return any(all(_ends(each, root, ending) for each in wanted) for wanted in needs)


def _needed_properties(schema: dict[str, Any]) -> list[Schema]:
    properties, required = schema.get("properties"), _list(schema, "required")
    if not isinstance(properties, dict):
        return []
    return [properties[name] for name in required if isinstance(name, str) and name in properties]


def _needed_items(schema: dict[str, Any]) -> list[Schema]:
    least = schema.get("minItems", 0)
    if not isinstance(least, int):
        return []
    first = _list(schema, "prefixItems") or _list(schema, "items")
    rest = schema.get("items", True) if least > len(first) else True
    return [*first[:least], True if isinstance(rest, list) else rest]


def _list(schema: dict[str, Any], keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []

"""What is wrong with a JSON schema, as far as it can be seen without compiling it.

Most of it would be found by llguidance too, which says less of where it is. Some would not: what
takes it very long, and what it lets through though the output might then not match.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sgjax.constrained.part import Part
from sgjax.constrained.schema_formats import check_format
from sgjax.constrained.schema_tree import Schema, is_local, target, walk

MAX_PROPERTIES = 5000
MAX_PAIRS = 20_000
"""Of alternatives of all oneOf: each pair is compared."""
MAX_ENTRIES = {"properties": 1000, "patternProperties": 64, "required": 1000, "allOf": 256}
"""In one place. The time for these grows with the square of their number."""
MAX_MULTIPLE = 10_000
"""Digits of a multipleOf, read as an integer. A grammar has a state for each remainder."""
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
JSON_ESCAPES = "\b\f\n\r\t"
"""The control characters that JSON has letters for."""


def check_schema(part: Part, schema: Schema) -> None:
    """Raises InvalidRequest, which says of which part. What it does not find may still be wrong."""
    num_properties = num_pairs = 0
    multiples: list[int] = []
    for place, found in walk(schema, part):
        if not isinstance(found, dict | bool):
            raise place.refuse(f"a schema is an object or a bool, not {_shown(found)}.")
        if isinstance(found, bool):
            continue
        for keyword, limit in MAX_ENTRIES.items():
            _check_count(place / keyword, found.get(keyword), limit)
        for keyword, check in _CHECKS.items():
            if keyword in found:
                check(place / keyword, found[keyword])
        _check_min_properties(place, found)
        num_properties += len(found.get("properties", ()))
        num_pairs += _num_pairs(found.get("oneOf"))
        if "multipleOf" in found:
            multiples.append(_digits(place / "multipleOf", found["multipleOf"]))
    _check_totals(part, num_properties, num_pairs, multiples)
    _check_refs(part, schema)


def _check_totals(part: Part, num_properties: int, num_pairs: int, multiples: list[int]) -> None:
    if num_properties > MAX_PROPERTIES:
        raise part.refuse(
            f"it has {num_properties} properties in all, but at most {MAX_PROPERTIES} are read."
        )
    if num_pairs > MAX_PAIRS:
        raise part.refuse(
            f"the alternatives of all oneOf in it make {num_pairs} pairs, but at most {MAX_PAIRS} "
            "are compared: a oneOf of 200. Use anyOf."
        )
    if math.lcm(*multiples) > MAX_MULTIPLE:
        raise part.refuse(
            "the least common multiple of all multipleOf in it, without their decimal points, may "
            f"be at most {MAX_MULTIPLE}."
        )


def _check_count(place: Part, value: Any, limit: int) -> None:
    if isinstance(value, dict | list) and len(value) > limit:
        raise place.refuse(f"at most {limit} entries are read here, not {len(value)}.")


def _num_pairs(value: Any) -> int:
    return len(value) * (len(value) - 1) // 2 if isinstance(value, list) else 0


def _check_refs(part: Part, schema: Schema) -> None:
    places = list(walk(schema, part))
    known = {place.path[len(part.path) :] for place, _ in places}
    for place, found in places:
        if not isinstance(found, dict):
            continue
        if "$id" in found and place != part:
            raise (place / "$id").refuse("a schema within another can have no $id. Leave it out.")
        if "$ref" in found:
            _check_ref(place / "$ref", found["$ref"], schema, known)


def _check_ref(place: Part, ref: Any, root: Schema, known: set[tuple[str | int, ...]]) -> None:
    if not is_local(ref):
        raise place.refuse(
            f"{_shown(ref)} is no pointer into this schema, such as '#/$defs/name', and nothing is "
            "fetched. Put what is meant in $defs."
        )
    found = target(root, ref)
    if found is None:
        raise place.refuse(f"{_shown(ref)} points to nothing in this schema.")
    if found[0] not in known:
        raise place.refuse(f"{_shown(ref)} points to what is no schema. Put it in $defs.")


def _check_type(place: Part, value: Any) -> None:
    for name in value if isinstance(value, list) else [value]:
        if name not in TYPES:
            raise place.refuse(f"{_shown(name)} is no type. Types are {', '.join(TYPES)}.")


def _check_properties(place: Part, value: Any) -> None:
    if not isinstance(value, dict):
        raise place.refuse(f"this must be an object, not {_shown(value)}.")
    _check_writable(place, list(value))


def _check_writable(place: Part, value: Any) -> None:
    """Strings that an output has literally. Escapes like `\\u0001` are left out of all outputs,
    since of a key that is written so llguidance would not see that it is one of the properties."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            stack += [*each, *each.values()]
        elif isinstance(each, list):
            stack += each
        elif isinstance(each, str) and any(map(_is_control, each)):
            raise place.refuse(
                "control characters other than \\b, \\f, \\n, \\r and \\t cannot be generated."
            )
        elif isinstance(each, int) and not -(2**63) <= each < 2**64:
            raise place.refuse(f"integers have at most 64 bits: {_shown(each)} has more.")


def _is_control(character: str) -> bool:
    return character == "\x7f" or (character < " " and character not in JSON_ESCAPES)


def _check_min_properties(place: Part, found: dict[str, Any]) -> None:
    """A grammar does not know which free key it had before, so it would count `{"a":1,"a":2}` as
    two properties."""
    least = found.get("minProperties", 0)
    is_closed = found.get("additionalProperties") is False and not found.get("patternProperties")
    required = found.get("required", ())
    if not isinstance(least, int) or not isinstance(required, list | tuple) or is_closed:
        return
    if least > len(set(map(str, required))) + 1:
        raise (place / "minProperties").refuse(
            "more than one property whose name is not given cannot be asked for: a grammar cannot "
            "tell whether they differ. Name them in required."
        )


def _digits(place: Part, value: Any) -> int:
    """A number without its decimal point and the zeros at its end: 25 of 0.25 and of 2500."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise place.refuse(f"this must be a number above 0, not {_shown(value)}.")
    digits = int("".join(map(str, Decimal(str(value)).normalize().as_tuple().digits)))
    if digits > MAX_MULTIPLE:
        raise place.refuse(f"without its decimal point it may be at most {MAX_MULTIPLE}.")
    return digits


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_CHECKS: dict[str, Callable[[Part, Any], None]] = {
    "type": _check_type,
    "properties": _check_properties,
    "required": _check_writable,
    "const": _check_writable,
    "enum": _check_writable,
    "format": check_format,
}

"""JSON schemas: checked, brought to what llguidance holds exactly, and made a grammar."""

import json
import math
import re
from typing import Any

from sgjax.constrained.json_options import OPTIONS, JsonWhitespace, read_options
from sgjax.constrained.one_of import with_any_of
from sgjax.constrained.part import Part, read_json
from sgjax.constrained.schema_blame import blame
from sgjax.constrained.schema_checks import check_schema
from sgjax.constrained.schema_ends import check_ends
from sgjax.constrained.schema_formats import with_patterns
from sgjax.constrained.schema_tree import Schema, plain_ref, rebuilt

ANY_OBJECT = "$$ANY$$"
"""SGLang's word for the schema of any JSON object."""
_WIDEST = 2**63 - 1024
"""The largest bound of an integer that llguidance reads, and a float."""


def json_schema_grammar(text: str, whitespace: JsonWhitespace) -> str:
    """The grammar of the field `json_schema`.

    Raises:
        InvalidRequest: it is no schema, cannot be matched, or not by a grammar; it says which part.
    """
    from llguidance import LLMatcher

    part = Part("json_schema")
    schema = {"type": "object"} if text == ANY_OBJECT else read_json(part, text)
    return LLMatcher.grammar_from_json_schema(prepared(part, schema, whitespace))


def prepared(part: Part, schema: Schema, whitespace: JsonWhitespace) -> str:
    """A schema as JSON text that llguidance makes a grammar of, with its options.

    It allows what the schema does, but for what is said in `with_patterns` and `_with_safe_bounds`.
    """
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise part.refuse(
            "no value can match a schema that is false."
            if schema is False
            else f"a schema is an object, not {type(schema).__name__}."
        )
    options = read_options(part / OPTIONS, schema.get(OPTIONS, {}), whitespace)
    schema = {key: value for key, value in schema.items() if key != OPTIONS}
    check_schema(part, schema)
    check_ends(part, schema)
    meant = rebuilt(schema, lambda each: _exact(each, schema))
    _check_expressible(part, meant, options)
    return _text(meant, options)


def _exact(schema: dict[str, Any], root: Schema) -> dict[str, Any]:
    """A schema as llguidance holds it exactly, without what binds nothing: beside a keyword that it
    does not know, it takes no reference that recurs."""
    bare = {key: value for key, value in schema.items() if not _binds_nothing(key)}
    if "$ref" in bare:
        bare["$ref"] = plain_ref(bare["$ref"])
    return with_any_of(_with_safe_bounds(with_patterns(_with_prefix_items(bare))), root)


def _binds_nothing(keyword: str) -> bool:
    return keyword in _ANNOTATIONS or keyword.startswith("x-")


_ANNOTATIONS = frozenset({"$anchor", "$comment", "$id", "$schema", "default", "deprecated"}) | {
    *("description", "discriminator", "example", "examples", "externalDocs", "nullable"),
    *("readOnly", "title", "writeOnly", "xml"),
}


def _with_prefix_items(schema: dict[str, Any]) -> dict[str, Any]:
    """Lists of items as drafts up to 2019 wrote them, in today's words."""
    if not isinstance(schema.get("items"), list):
        return {key: value for key, value in schema.items() if key != "additionalItems"}
    out = {key: value for key, value in schema.items() if key not in ("items", "additionalItems")}
    return out | {"prefixItems": schema["items"], "items": schema.get("additionalItems", True)}


def _check_expressible(part: Part, schema: Schema, options: dict[str, Any]) -> None:
    from llguidance import LLMatcher

    def fault_of(text: str) -> str:
        grammar = LLMatcher.grammar_from_json_schema(text, overrides=options)  # type: ignore[arg-type]
        return LLMatcher.validate_grammar(grammar).split("\n  while processing")[0]

    if fault := fault_of(_text(schema, options)):
        place, fault = blame(part, schema, fault, fault_of)
        raise place.refuse(_in_our_words(fault))


def _text(schema: Schema, options: dict[str, Any]) -> str:
    return json.dumps(schema | {OPTIONS: options}, ensure_ascii=False)


def _in_our_words(fault: str) -> str:
    if fault.startswith("oneOf constraints"):
        return (
            "it is not sure that a value matches only one alternative of oneOf. Let them differ in "
            "their type, or in the const of a required property, or use anyOf."
        )
    if fault.startswith("Unimplemented keys: "):
        keys = ", ".join(re.findall(r'"([^"]*)"', fault))
        return f"the keyword {keys} cannot be held by a grammar. Leave it out."
    if fault.startswith("Unsatisfiable schema: "):
        return f"no value can match: {_line(fault.removeprefix('Unsatisfiable schema: '))}."
    return f"this cannot be held by a grammar: {_line(fault)}."


def _line(fault: str) -> str:
    """A message of several lines, of which the last says what is wrong with a regex."""
    _, _, said = fault.rpartition("\nerror: ")
    text = " ".join((said or fault).split())
    return (text if len(text) <= 300 else f"{text[:297]}...").rstrip(".")


def _with_safe_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Bounds of 64-bit integers, which are no floats, to the next float within them.

    llguidance reads bounds as floats, and rounds them up; the few numbers lost are at the very end
    of the range.
    """
    out = dict(schema)
    for keyword, toward in _BOUNDS.items():
        bound = schema.get(keyword)
        if isinstance(bound, int) and not isinstance(bound, bool) and 2**53 < abs(bound) <= 2**64:
            out[keyword] = _float_within(bound, toward)
    return out


_BOUNDS = {
    "minimum": math.inf,
    "exclusiveMinimum": math.inf,
    "maximum": -math.inf,
    "exclusiveMaximum": -math.inf,
}


def _float_within(bound: int, toward: float) -> int:
    if abs(bound) > _WIDEST and (bound > 0) == (toward < 0):
        return int(math.copysign(_WIDEST, bound))
    near = float(bound)
    is_within = near >= bound if toward > 0 else near <= bound
    return int(near if is_within else math.nextafter(near, toward))

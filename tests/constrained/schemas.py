"""JSON schemas to bind outputs to: real ones, written down, and made ones, by hypothesis.

`schemas()` makes schemas that can all be held by a grammar and matched; `faults(schema, text)` says
what is wrong with an output, by another library, and exactly: its numbers are decimals.
"""

import json
from decimal import Decimal
from typing import Any

import jsonschema
from hypothesis import strategies as st

Schema = dict[str, Any]

KEYS = ("a", "b", "name", "größe", "名前", "with space", 'q"uote', "a/b", "😀", "back\\slash")
TEXTS = ("", "x", "Überraschung", "日本", 'say "hi"', "tab\there", "line\nend", "\\", "😀!")
PATTERNS = (
    "^[a-z]{2,5}$",
    "^\\d{3}-\\d{4}$",
    "^(red|green|blue)$",
    "ab",
    "^[A-Z][a-z]*( [A-Z][a-z]*)?$",
    '^[^"\\\\]{1,4}$',
    "^é+$",
)
FORMATS = ("date", "time", "date-time", "duration", "email", "ipv4", "ipv6", "uuid", "hostname")


def faults(schema: Any, text: str) -> list[str]:
    """What keeps an output from matching a schema; empty if it does."""
    try:
        value = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        return [f"no JSON: {error}"]
    exact = json.loads(json.dumps(schema), parse_float=Decimal)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    validator = jsonschema.Draft202012Validator(exact, format_checker=checker)
    return [error.message for error in validator.iter_errors(value)]


def schemas() -> st.SearchStrategy[Schema]:
    """Schemas with definitions, some of which recur."""
    return st.one_of(_values(_leaves()), _with_definitions(), _trees())


def _leaves() -> st.SearchStrategy[Schema]:
    return st.one_of(
        _strings(), _integers(), _numbers(), _enums(), st.sampled_from(_FIXED), _typed_lists()
    )


_FIXED: tuple[Schema, ...] = (
    {"type": "boolean"},
    {"type": "null"},
    {"const": None},
    {"const": 'ünï "quoted" \\ \n'},
    {"const": {"k": [1, {"x": None}], "é": "\t"}},
    {"const": -12.5},
    {"type": ["string", "null"], "maxLength": 3},
)


@st.composite
def _strings(draw: st.DrawFn) -> Schema:
    kind = draw(st.sampled_from(("free", "length", "pattern", "format")))
    if kind == "pattern":
        return {"type": "string", "pattern": draw(st.sampled_from(PATTERNS))}
    if kind == "format":
        return {"type": "string", "format": draw(st.sampled_from(FORMATS))}
    if kind == "length":
        low, high = sorted((draw(st.integers(0, 6)), draw(st.integers(0, 6))))
        return {"type": "string", "minLength": low, "maxLength": high}
    return {"type": "string"}


@st.composite
def _integers(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": "integer"}
    bounds = st.integers(-1000, 1000) | st.integers(-(10**17), 10**17)
    low, high = sorted((draw(bounds), draw(bounds)))
    if draw(st.integers(0, 4)) == 0:
        low, high = -(2**63), 2**63 - 1
    if draw(st.booleans()):
        schema["minimum"] = low
    if draw(st.booleans()):
        schema["maximum"] = max(high, low + 2048)
    if draw(st.integers(0, 3)) == 0:
        schema = {"type": "integer", "multipleOf": draw(st.sampled_from((2, 3, 7, 10, 250)))}
    return schema


@st.composite
def _numbers(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": "number"}
    tenths = st.integers(-10_000, 10_000).map(lambda value: value / 100)
    low, high = sorted((draw(tenths), draw(tenths)))
    if draw(st.booleans()):
        schema[draw(st.sampled_from(("minimum", "exclusiveMinimum")))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(("maximum", "exclusiveMaximum")))] = high + 1
    if draw(st.integers(0, 4)) == 0:
        schema = {"type": "number", "multipleOf": draw(st.sampled_from((0.25, 0.1, 0.01, 5)))}
    return schema


def _enums() -> st.SearchStrategy[Schema]:
    values = st.sampled_from((*TEXTS, 0, -1, 2.5, True, False, None)) | st.just([1, "é"])
    return st.lists(values, min_size=1, max_size=4).map(lambda found: {"enum": found})


def _typed_lists() -> st.SearchStrategy[Schema]:
    names = ("string", "integer", "number", "boolean", "null")
    return st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(
        lambda found: {"type": found}
    )


def _values(leaves: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(_arrays(inner), _tuples(inner), _objects(inner), _unions(inner)),
        max_leaves=8,
    )


@st.composite
def _arrays(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    schema: Schema = {"type": "array", "items": draw(inner)}
    low, high = sorted((draw(st.integers(0, 3)), draw(st.integers(0, 3))))
    if draw(st.booleans()):
        schema["minItems"] = low
    if draw(st.booleans()):
        schema["maxItems"] = high
    return schema


@st.composite
def _tuples(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    first = draw(st.lists(inner, min_size=1, max_size=3))
    rest = draw(st.just(False) | inner)
    schema: Schema = {"type": "array", "prefixItems": first, "items": rest}
    if draw(st.booleans()):
        schema["minItems"] = draw(st.integers(0, len(first)))
    return schema


@st.composite
def _objects(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    names = draw(st.lists(st.sampled_from(KEYS), max_size=4, unique=True))
    schema: Schema = {
        "type": "object",
        "properties": {name: draw(inner) for name in names},
        "required": [name for name in names if draw(st.booleans())],
    }
    more = draw(st.sampled_from(("closed", "open", "some")))
    if more == "closed":
        schema["additionalProperties"] = False
    elif more == "some":
        schema["additionalProperties"] = draw(inner)
    if draw(st.booleans()):
        schema |= {"title": "T", "description": "é", "default": {}}
    return schema


@st.composite
def _unions(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    parts = draw(st.lists(inner, min_size=1, max_size=3))
    if draw(st.booleans()):
        return {"anyOf": parts}
    tagged = [
        {
            "type": "object",
            "properties": {"kind": {"const": f"k{index}", "type": "string"}, "value": part},
            "required": ["kind", "value"],
        }
        for index, part in enumerate(parts)
    ]
    return {"oneOf": tagged, "discriminator": {"propertyName": "kind"}}


@st.composite
def _with_definitions(draw: st.DrawFn) -> Schema:
    names = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    keyword = draw(st.sampled_from(("$defs", "definitions")))
    refs = st.sampled_from([f"#/{keyword}/{_escaped(name)}" for name in names])
    with_refs = _values(_leaves() | refs.map(lambda ref: {"$ref": ref}))
    definitions = {name: draw(_values(_leaves())) for name in names}
    root = draw(_objects(with_refs))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, keyword: definitions}


@st.composite
def _trees(draw: st.DrawFn) -> Schema:
    """Nodes that hold nodes: as a list, as an option, as a union, through one another."""
    leaf = draw(_leaves())
    node: Schema = {
        "type": "object",
        "properties": {
            "value": leaf,
            "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": None},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Other"}, "maxItems": 2},
        },
        "required": draw(st.sampled_from((["value"], ["value", "next"], ["children"]))),
        "additionalProperties": False,
    }
    other = {"anyOf": [leaf, {"$ref": "#/$defs/Node", "description": "a node"}]}
    return {"$ref": "#/$defs/Node", "$defs": {"Node": node, "Other": other}}


def _escaped(name: str) -> str:
    for plain, written in (("~", "~0"), ("/", "~1"), ("%", "%25")):
        name = name.replace(plain, written)
    return name


_PERSON: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Name", "minLength": 1},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "email": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
    },
    "required": ["name", "age", "email"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Schema] = {
    "person": _PERSON,
    "people": {"type": "array", "items": {"$ref": "#/$defs/P"}, "$defs": {"P": _PERSON}},
    "anything": {},
    "any object": {"type": "object"},
    "character": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "house": {"enum": ["Gryffindor", "Slytherin", "Ravenclaw", "Hufflepuff"]},
            "wand": {
                "type": "object",
                "properties": {
                    "wood": {"type": "string", "maxLength": 8},
                    "length": {"type": "number", "minimum": 5, "maximum": 20},
                },
                "required": ["wood", "length"],
                "additionalProperties": False,
            },
            "alive": {"type": "boolean"},
        },
        "required": ["name", "house", "wand", "alive"],
        "additionalProperties": False,
    },
    "pydantic tagged union": {
        "$defs": {
            "Cat": {
                "properties": {
                    "kind": {"const": "cat", "title": "Kind", "type": "string"},
                    "lives": {"title": "Lives", "type": "integer", "maximum": 9, "minimum": 0},
                },
                "required": ["kind", "lives"],
                "title": "Cat",
                "type": "object",
            },
            "Dog": {
                "properties": {
                    "kind": {"enum": ["dog", "puppy"], "title": "Kind", "type": "string"},
                    "friend": {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]},
                },
                "required": ["kind"],
                "title": "Dog",
                "type": "object",
            },
        },
        "discriminator": {
            "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog", "puppy": "#/$defs/Dog"},
            "propertyName": "kind",
        },
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
    },
    "zod integer": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "count": {
                "type": "integer",
                "minimum": -9007199254740991,
                "maximum": 9007199254740991,
            }
        },
        "required": ["count"],
        "additionalProperties": False,
    },
    "64 bits": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "unsigned 64 bits": {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
    "linked list": {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "v": {"const": 1}},
        "required": ["v", "next"],
        "additionalProperties": False,
    },
    "expression": {
        "$ref": "#/$defs/expr",
        "$defs": {
            "expr": {
                "anyOf": [
                    {"type": "integer", "minimum": 0, "maximum": 99},
                    {
                        "type": "array",
                        "prefixItems": [{"enum": ["+", "*"]}, {"$ref": "#/$defs/expr"}],
                        "items": {"$ref": "#/$defs/expr"},
                        "minItems": 2,
                        "maxItems": 3,
                    },
                ]
            }
        },
    },
    "map of lists": {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
    },
    "keys by pattern": {
        "type": "object",
        "patternProperties": {"^x_": {"type": "integer"}, "^y_": {"type": "boolean"}},
        "additionalProperties": False,
    },
    "open with named": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "additionalProperties": {"type": "string", "maxLength": 4},
    },
    "merged": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string", "maxLength": 3}}, "required": ["b"]},
        ]
    },
    "bounds from two sides": {
        "$ref": "#/$defs/low",
        "maximum": 12,
        "$defs": {"low": {"type": "integer", "minimum": 10}},
    },
    "one of required": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "additionalProperties": False,
    },
    "filtered enum": {"enum": ["aa", "b", "ccc", 7, None], "type": "string", "maxLength": 2},
    "format and pattern": {"type": "string", "format": "date", "pattern": "^2024-02"},
    "annotated format": {"type": "string", "format": "password", "maxLength": 5},
    "no types": {"properties": {"a": {"minimum": 3}}, "maxLength": 3, "maxItems": 1},
    "odd characters": {"enum": ["\b\f\n\r\t", "\x80\u2028\ufeff\U0010ffff"]},
}

"""What is told of schemas before they become grammars: whether alternatives are apart, what strict
closes, which bounds are safe."""

import json
from typing import Any

import hypothesis
import jsonschema
import pytest
from hypothesis import strategies as st

from sgjax.constrained import grammar_of
from sgjax.constrained.one_of import are_apart
from sgjax.constrained.part import Part
from sgjax.constrained.strict import closed
from sgjax.errors import InvalidRequest
from sgjax.sampling_params import SamplingParams
from tests.constrained.schemas import faults
from tests.constrained.walk import accepts


def tagged(value: Any, **rest: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": value}, "required": ["kind"]} | rest


@pytest.mark.parametrize(
    ("first", "second", "is_apart"),
    [
        ({"type": "string"}, {"type": "integer"}, True),
        ({"type": "number"}, {"type": "integer"}, False),
        ({"type": ["string", "null"]}, {"type": "null"}, False),
        ({"const": 1}, {"const": 1.0}, False),
        ({"const": 1}, {"const": True}, True),
        ({"enum": ["a", "b"]}, {"enum": ["c"]}, True),
        ({"enum": ["a", "b"]}, {"enum": ["b", "c"]}, False),
        ({"const": {"a": 1, "b": 2}}, {"const": {"b": 2, "a": 1}}, False),
        (tagged({"const": "a"}), tagged({"enum": ["b", "c"]}), True),
        (tagged({"const": "a"}), tagged({"const": "b"}, required=[]), False),
        (tagged({"const": "a"}), tagged({"type": "string"}), False),
        (tagged({"const": "a"}), tagged({"type": "integer"}), True),
        (tagged({"const": "a"}), tagged({"const": "b"}, type=["object", "null"]), True),
        (tagged({}), {"type": "object", "additionalProperties": False}, True),
        (tagged({}), {"type": "object"}, False),
        (False, {}, True),
        ({}, {}, False),
    ],
)
def test_alternatives_are_apart_only_where_that_is_sure(first: Any, second: Any, is_apart: bool):
    assert are_apart(first, second, {}) == is_apart
    assert are_apart(second, first, {}) == is_apart


_SMALL = st.sampled_from((0, 1, 1.0, True, "a", "b", None, (), {"k": "a"}, {"k": "b"}, {"k": 1}))
_VALUES = _SMALL.map(lambda value: [] if value == () else value)
_PARTS = st.one_of(
    st.sampled_from(("string", "integer", "number", "boolean", "null", "object", "array")).map(
        lambda name: {"type": name}
    ),
    _VALUES.map(lambda value: {"const": value}),
    st.lists(_VALUES, min_size=1, max_size=3).map(lambda values: {"enum": values}),
)
_ALTERNATIVES = _PARTS | st.builds(
    lambda part, names, more: {
        "type": "object",
        "properties": {"k": part},
        "required": names,
        "additionalProperties": more,
    },
    _PARTS,
    st.sampled_from(([], ["k"], ["other"])),
    st.booleans(),
)


@hypothesis.given(first=_ALTERNATIVES, second=_ALTERNATIVES, value=_VALUES)
def test_no_value_matches_two_that_are_apart(first: Any, second: Any, value: Any):
    if are_apart(first, second, {}):
        assert not all(
            jsonschema.Draft202012Validator(each).is_valid(value) for each in (first, second)
        )


def test_strict_closes_objects_that_name_properties_wherever_they_are():
    schema = {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"properties": {"b": {}}}, {"type": "null"}]},
            "free": {"type": "object"},
            "said": {"properties": {"c": {}}, "additionalProperties": True},
        },
        "$defs": {"d": {"items": {"properties": {}}}},
    }
    found = closed(Part("json_schema"), schema)
    assert found["additionalProperties"] is False
    assert found["properties"]["a"]["anyOf"][0]["additionalProperties"] is False
    assert found["properties"]["free"] == {"type": "object"}
    assert found["properties"]["said"]["additionalProperties"] is True
    assert found["$defs"]["d"]["items"]["additionalProperties"] is False


def test_strict_refuses_objects_that_would_exclude_one_another():
    parts = [{"properties": {"a": {}}}, {"properties": {"b": {}}}]
    with pytest.raises(InvalidRequest, match="at /items: strict closes every object"):
        closed(Part("json_schema"), {"items": {"allOf": parts}})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"maximum": 2**63 - 1}, 2**63 - 1),
        ({"maximum": 2**63 - 1}, 2**63),
        ({"minimum": -(2**63)}, -(2**63)),
        ({"maximum": 2**53 + 1}, 2**53 + 1),
        ({"maximum": 2**53 + 1}, 2**53 + 2),
        ({"exclusiveMaximum": 2**53 + 1}, 2**53 + 1),
        ({"minimum": 2**60 + 1, "maximum": 2**62}, 2**60),
        ({"minimum": 2**60 + 1, "maximum": 2**62}, 2**60 + 1024),
        ({"maximum": 2**64 - 1, "minimum": 0}, 2**64),
        ({"maximum": 9007199254740991}, 9007199254740991),
        ({"maximum": 9007199254740991}, 9007199254740992),
    ],
)
def test_bounds_that_no_float_has_let_nothing_through(schema: dict[str, Any], value: int):
    full = {"type": "integer", **schema}
    grammar = grammar_of(SamplingParams.from_dict({"json_schema": full})) or ""
    if accepts(grammar, str(value)):
        assert not faults(full, str(value))


def test_bounds_of_javascript_are_exact():
    schema = {"type": "integer", "maximum": 9007199254740991}
    grammar = grammar_of(SamplingParams.from_dict({"json_schema": schema})) or ""
    assert accepts(grammar, "9007199254740991")
    assert not accepts(grammar, "9007199254740992")


@pytest.mark.parametrize(
    ("format_", "good", "bad"),
    [
        (
            "date",
            ["2024-02-29", "2000-02-29", "0001-01-01"],
            ["2023-02-29", "1900-02-29", "0000-01-01", "2024-04-31"],
        ),
        ("time", ["23:59:59Z", "00:00:00.123456789+05:30"], ["24:00:00Z", "23:59:60Z", "12:00:00"]),
        ("date-time", ["2024-02-29T12:00:00Z"], ["2024-02-29 12:00:00Z", "2023-02-29T12:00:00Z"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
    ],
)
def test_formats_take_what_exists(format_: str, good: list[str], bad: list[str]):
    schema = {"type": "string", "format": format_}
    grammar = grammar_of(SamplingParams.from_dict({"json_schema": schema})) or ""
    for text in good:
        assert accepts(grammar, json.dumps(text)), text
        assert not faults(schema, json.dumps(text))
    assert [text for text in bad if accepts(grammar, json.dumps(text))] == []


def test_lists_of_items_of_older_drafts_are_tuples():
    schema = {"type": "array", "items": [{"type": "integer"}], "additionalItems": False}
    grammar = grammar_of(SamplingParams.from_dict({"json_schema": schema})) or ""
    assert accepts(grammar, "[1]") and accepts(grammar, "[]")
    assert not accepts(grammar, "[1,2]") and not accepts(grammar, '["a"]')

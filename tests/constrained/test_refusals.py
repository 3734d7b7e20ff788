"""Constraints that cannot be held are refused at once, with the part that is to blame."""

import json
from typing import Any, NamedTuple

import pytest

from sgjax.constrained import grammar_of
from sgjax.errors import InvalidRequest
from sgjax.sampling_params import SamplingParams


class Bad(NamedTuple):
    says: str
    constraint: dict[str, Any]


def schema(says: str, value: Any) -> Bad:
    return Bad(says, {"json_schema": value})


def tag(says: str, value: Any) -> Bad:
    return Bad(says, {"structural_tag": value})


def properties(count: int) -> dict[str, Any]:
    return {str(number): {} for number in range(count)}


def nested(depth: int) -> str:
    return '{"items":' * depth + "{}" + "}" * depth


def two_tags(**changes: Any) -> dict[str, Any]:
    tags = [{"begin": "<f=a>", "schema": {"type": "integer"}, "end": "</f>"}]
    return {"structures": tags, "triggers": ["<f="]} | changes


def sequence(*elements: Any) -> dict[str, Any]:
    return {"type": "structural_tag", "format": {"type": "sequence", "elements": list(elements)}}


ANY_TEXT = {"type": "any_text"}
A: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
SCHEMAS = [
    schema("not valid JSON", "{"),
    schema("NaN is no number", '{"const": NaN}'),
    schema("/minimum: this number is too large", '{"minimum": 1e999}'),
    schema("/const: a string has a lone surrogate", '{"const": "\\ud800"}'),
    schema("a schema is an object, not list", "[]"),
    schema("no value can match a schema that is false", "false"),
    schema("nested 64 deep", nested(70)),
    schema("nested 64 deep", nested(20_000)),
    schema(
        "at /properties: at most 1000 entries",
        {"properties": properties(2000)},
    ),
    schema("at /properties: at most 1000 entries", {"properties": properties(20_000)}),
    schema("has 262163 bytes, but at most 262144 are read", {"const": "x" * 262_150}),
    schema(
        "has 6000 properties in all",
        {"anyOf": [{"properties": properties(600)} for _ in range(10)]},
    ),
    schema("at /type: 'objec' is no type", {"type": "objec"}),
    schema("at /items/type: 7 is no type", {"items": {"type": ["null", 7]}}),
    schema("at /properties/a: a schema is an object or a bool", {"properties": {"a": 7}}),
    schema("at /properties: this must be an object", {"properties": 7}),
    schema("at /$ref: '#/$defs/x' points to nothing", {"$ref": "#/$defs/x"}),
    schema("at /$ref: '#/x' points to what is no schema", {"$ref": "#/x", "x": {"multipleOf": 1}}),
    schema("nothing is fetched", {"$ref": "http://example.com/schema"}),
    schema("nothing is fetched", {"$ref": "file:///etc/passwd"}),
    schema("at /items/$id", {"items": {"$id": "http://example.com/other"}}),
    schema("at /properties/a/format: the format 'poem'", {"properties": {"a": {"format": "poem"}}}),
    schema(
        "at /properties/a/items: this cannot be held by a grammar: look-around",
        {"properties": {"a": {"items": {"type": "string", "pattern": "(?=a)b"}}}},
    ),
    schema(
        "at /$defs/a~1b: the keyword not cannot be held",
        {"items": {"$ref": "#/$defs/a~1b"}, "$defs": {"a/b": {"not": {"type": "null"}}}},
    ),
    schema("keyword uniqueItems", {"type": "array", "uniqueItems": True}),
    schema("keyword if, then", {"if": {}, "then": {}}),
    schema("Expected positive integer for 'minLength'", {"type": "string", "minLength": -1}),
    schema(
        "minimum (5) is greater than maximum (3)", {"type": "integer", "minimum": 5, "maximum": 3}
    ),
    schema(
        "at /properties/a: no value can match: minimum (5)",
        A
        | {"properties": {"a": {"type": "integer", "minimum": 5, "maximum": 3}}, "required": ["a"]},
    ),
    schema("no value can match", {"enum": []}),
    schema("no value can match", {"allOf": [{"type": "string"}, {"type": "integer"}]}),
    schema(
        "always needs another like itself",
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
    ),
    schema(
        "at /$defs/b: no value can match this: it always needs another",
        {
            "properties": {"a": {"$ref": "#/$defs/b"}},
            "$defs": {"b": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/b"}}},
        },
    ),
    schema("at /$defs/a", {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
    schema("only one alternative of oneOf", {"oneOf": [{"type": "number"}, {"type": "integer"}]}),
    schema("only one alternative of oneOf", {"oneOf": [A, {"type": "object"}]}),
    schema("make 44850 pairs", {"oneOf": [{"const": number} for number in range(300)]}),
    schema("at /required: at most 1000", {"required": list(map(str, range(2000)))}),
    schema("at /allOf: at most 256", {"allOf": [{}] * 300}),
    schema("at /patternProperties: at most 64", {"patternProperties": properties(65)}),
    schema(
        "at /multipleOf: without its decimal point", {"type": "integer", "multipleOf": 99_999_999}
    ),
    schema("must be a number above 0", {"type": "integer", "multipleOf": 0}),
    schema("least common multiple", {"allOf": [{"multipleOf": 9967}, {"multipleOf": 9973}]}),
    schema("at most 64 bits", {"const": 2**70}),
    schema("at /enum: control characters", {"enum": ["\x01"]}),
    schema("at /properties: control characters", {"properties": {"\x7f": {}}}),
    schema("at /minProperties", {"type": "object", "minProperties": 2}),
    schema("the option 'lenient' is not known", {"x-guidance": {"lenient": True}}),
    schema("a whitespace pattern is made of", {"x-guidance": {"whitespace_pattern": "[a-z]*"}}),
]
REGEXES = [
    Bad("unclosed group", {"regex": "("}),
    Bad("lookahead and lookbehind are not supported", {"regex": "(?<=a)b"}),
    Bad("lookahead and lookbehind are not supported", {"regex": "(?!a)b"}),
    Bad("backreferences are not supported", {"regex": r"(a)\1"}),
    Bad("backreferences are not supported", {"regex": r"(?P<n>a)(?P=n)"}),
    Bad("write {0,3} for {,3}", {"regex": "a{,3}"}),
    Bad("lookarounds not supported", {"regex": r"\bword\b"}),
    Bad("must not be empty", {"regex": ""}),
    Bad("must be a string, not int", {"regex": 7}),
    Bad("lone surrogate", {"regex": "\ud800"}),
    Bad("at most 262144 are read", {"regex": "a" * 300_000}),
    Bad("regex", {"regex": "(" * 20_000 + "a" + ")" * 20_000}),
]
CHOICES = [
    Bad("1 to 4096 texts, not 0", {"choice": []}),
    Bad("1 to 4096 texts, not 5000", {"choice": list(map(str, range(5000)))}),
    Bad("must be a list", {"choice": "yes"}),
    Bad("list of strings", {"choice": ["a", 1]}),
]
DOUBLING = "".join(f"t{i} ::= t{i + 1} t{i + 1}\n" for i in range(40)) + 't40 ::= "a"'
GRAMMARS = [
    Bad("no rule named root", {"ebnf": 'rot ::= "a"'}),
    Bad("the rule 'root' names 'x'", {"ebnf": "root ::= x"}),
    Bad("defined twice", {"ebnf": 'root ::= "a"\nroot ::= "b"'}),
    Bad("line 2: here must be a rule", {"ebnf": 'root ::= "a"\n  ) "b"'}),
    Bad("nothing finite matches root", {"ebnf": 'root ::= "a" root'}),
    Bad("ends before it begins", {"ebnf": "root ::= [z-a]"}),
    Bad("the escape \\q is not known", {"ebnf": 'root ::= "\\q"'}),
    Bad("is no character", {"ebnf": 'root ::= "\\ud800"'}),
    Bad("is no repetition", {"ebnf": 'root ::= "a"{5,2}'}),
    Bad("nested 64 deep", {"ebnf": "root ::= " + "(" * 5000 + '"a"' + ")" * 5000}),
    Bad("is not understood", {"ebnf": "root ::= @"}),
    Bad('unknown name: "x"', {"ebnf": "start: x"}),
    Bad("at /%json/format: the format 'poem'", {"ebnf": 'start: %json {"format": "poem"}'}),
    Bad("at /%json/multipleOf", {"ebnf": 'start: %json {"multi\\u0070leOf": 99999999}'}),
    Bad("at /%json: this is not valid JSON", {"ebnf": "start: %json {"}),
    Bad("too big", {"ebnf": f"root ::= t0\n{DOUBLING}"}),
]
TAGS = [
    tag("must be an object", "[]"),
    tag("'structures' and 'triggers', or 'format'", {}),
    tag("at /triggers", two_tags(triggers=[])),
    tag("at /triggers/0: a trigger is a string", two_tags(triggers=[""])),
    tag("one is within the other", two_tags(triggers=["<f=", "f="])),
    tag("at /structures/0/begin: '<f=a>' begins with no trigger", two_tags(triggers=["<g="])),
    tag(
        "at /structures/0/schema/type: 'x' is no type",
        two_tags(structures=[{"begin": "<f=", "schema": {"type": "x"}, "end": ""}]),
    ),
    tag("at /structures/0/end", two_tags(structures=[{"begin": "<f=", "schema": {}}])),
    tag("at /format/type: the format 'poem'", {"format": {"type": "poem"}}),
    tag(
        "at /format/elements/0: free text",
        sequence(ANY_TEXT, {"type": "const_string", "value": "a"}),
    ),
    tag(
        "at /format/elements/0/pattern: unclosed group", sequence({"type": "regex", "pattern": "("})
    ),
    tag("at /format/elements", sequence()),
]
ALL = [*SCHEMAS, *REGEXES, *CHOICES, *GRAMMARS, *TAGS]


@pytest.mark.parametrize("bad", ALL, ids=lambda bad: f"{next(iter(bad.constraint))}: {bad.says}")
def test_what_cannot_be_held_is_refused_with_the_part_to_blame(bad: Bad):
    with pytest.raises(InvalidRequest) as caught:
        grammar_of(SamplingParams.from_dict(bad.constraint))
    assert bad.says in str(caught.value)
    assert caught.value.param == next(iter(bad.constraint))
    assert len(str(caught.value)) < 1000


def test_two_constraints_are_refused_by_name():
    with pytest.raises(InvalidRequest, match="both regex and choice are set") as caught:
        SamplingParams(regex="a", choice=("b",))
    assert caught.value.param == "choice"


def test_a_least_length_is_refused_with_a_constraint():
    with pytest.raises(InvalidRequest, match="cannot be had together with regex") as caught:
        SamplingParams(regex="a", min_new_tokens=3)
    assert caught.value.param == "min_new_tokens"


def test_objects_are_taken_as_json_text():
    params = SamplingParams.from_dict({"json_schema": {"const": "é"}, "max_new_tokens": 4})
    assert json.loads(str(params.json_schema)) == {"const": "é"}
    assert params.is_constrained
    assert not SamplingParams().is_constrained


def test_without_a_constraint_there_is_no_grammar():
    assert grammar_of(SamplingParams()) is None


def test_an_object_that_is_no_json_is_refused():
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        SamplingParams.from_dict({"json_schema": {"const": float("nan")}})
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"items": deep}
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        SamplingParams.from_dict({"json_schema": deep})

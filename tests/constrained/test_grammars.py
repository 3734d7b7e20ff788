"""Grammars in EBNF and Lark, and structural tags: what they take and what they do not."""

import json
from typing import Any

import pytest

from sgjax.constrained import grammar_of
from sgjax.sampling_params import SamplingParams
from tests.constrained.schemas import faults
from tests.constrained.walk import accepts, tokenizer, walk

CITIES = """
root ::= city | description
city ::= "London" | "Paris"
description ::= city " is " status
status ::= "the capital of " country
country ::= "England" | "France"
"""
ARITHMETIC = """
root ::= expr            # the sum comes first
expr ::= term
       | expr ("+" | "-") term
term ::= [0-9]+ ("." [0-9]{1,3})? | "(" expr ")"
"""
JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array  ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,15})? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"""
LARK = """
start: greeting " " name "!"
greeting: "Hello" | "Hi"
name: /[A-Z][a-z]+/
"""


def ebnf(text: str, **rest: Any) -> str:
    return grammar_of(SamplingParams(ebnf=text), **rest) or ""


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        (CITIES, ["Paris", "London is the capital of France"], ["", "Rome", "Paris is", "Paris "]),
        (ARITHMETIC, ["1", "(1+2.5)-30", "((7))"], ["+", "1+", "(1", "1.2345", "1 + 2"]),
        (JSON, ['{"a": [1, -2.5e3, {}], "b\\u0041": null}', "{}"], ["[]", "{a: 1}", '{"a": 01}']),
        (LARK, ["Hello Bob!", "Hi Al!"], ["Hello bob!", "Hello Bob"]),
        ('root ::= "é\\u65e5\\x41" .', ["é日A\n", "é日A😀"], ["é日A", "é日B!"]),
        (r"root ::= [\]a-c^-]+ [^a-c]", ["]-^az", "b\n"], ["aa", "zz"]),
        (
            'root ::= ("a" | "b"){2,3} "c"{2} "d"{1,}',
            ["abccd", "bbaccddd"],
            ["accd", "abcd", "abcc"],
        ),
        ('root ::= [a-z]* "b"', ["aab", "b", "bbbb"], ["", "a"]),
        ('root ::= "(" root ")" | [a-z]* "b"', ["((ab))", "b"], ["(ab", "()"]),
        ('root ::= ""', [""], ["a"]),
        ('root-1 ::= "x"\nroot ::= root-1 my_rule\nmy_rule ::= "y"?', ["x", "xy"], ["y"]),
    ],
)
def test_grammar_takes_what_it_should(grammar: str, good: list[str], bad: list[str]):
    found = ebnf(grammar)
    assert [text for text in good if not accepts(found, text)] == []
    assert [text for text in bad if accepts(found, text)] == []


@pytest.mark.parametrize("seed", range(8))
def test_outputs_of_a_json_grammar_are_json(seed: int):
    found = walk(ebnf(JSON), seed)
    if found.is_finished:
        assert isinstance(json.loads(found.text), dict)


def test_schema_within_lark_is_held_as_one_alone():
    grammar = ebnf('start: "<" %json {"type": "string", "format": "date"} ">" // %json {')
    assert accepts(grammar, '<"2024-02-29">')
    assert not accepts(grammar, '<"2023-02-29">')


def test_text_that_looks_like_a_schema_is_left_alone():
    assert accepts(ebnf('start: "%json {" /%json \\d/'), "%json {%json 7")


def test_whitespace_is_compact_unless_it_is_asked_for():
    params = SamplingParams(json_schema='{"type": "object"}')
    compact = grammar_of(params) or ""
    flexible = grammar_of(params, json_whitespace="flexible") or ""
    assert accepts(compact, '{"a":[1,2]}') and accepts(flexible, '{"a":[1,2]}')
    assert not accepts(compact, '{"a": 1}') and accepts(flexible, '{"a":\n [1, 2]}')


def test_schema_may_choose_its_own_whitespace():
    schema = {"x-guidance": {"whitespace_pattern": r"[ ]?"}}
    grammar = grammar_of(SamplingParams.from_dict({"json_schema": schema})) or ""
    assert accepts(grammar, '{"a": 1}') and not accepts(grammar, '{"a":\n1}')


def test_free_key_cannot_be_a_named_one_in_disguise():
    schema = {"properties": {"a": {"type": "integer"}}, "type": "object"}
    grammar = grammar_of(SamplingParams.from_dict({"json_schema": schema})) or ""
    assert not accepts(grammar, r'{"\u0061":"x"}')
    assert not accepts(grammar, '{"a":"x"}') and accepts(grammar, '{"b":"x"}')


def test_any_object_of_sglang_is_an_object():
    grammar = grammar_of(SamplingParams(json_schema="$$ANY$$")) or ""
    assert accepts(grammar, '{"a":[null]}') and not accepts(grammar, "[]")


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
STRUCTURES = {
    "type": "structural_tag",
    "structures": [
        {"begin": "<f=weather>", "schema": CITY, "end": "</f>"},
        {"begin": "<f=time>", "schema": {"type": "object"}, "end": "</f>"},
        {"begin": "<g>", "schema": {"type": "integer"}, "end": "</g>"},
    ],
    "triggers": ["<f=", "<g>"],
}
CALL = '<f=weather>{"city":"Rom"}</f>'


def tags(value: dict[str, Any]) -> str:
    return grammar_of(SamplingParams.from_dict({"structural_tag": value})) or ""


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        ("", True),
        ("only words, a < b", True),
        (CALL, True),
        (f"Let us see.\n{CALL} and <g>12</g>\nthat is it", True),
        (CALL + CALL, True),
        ('<f=weather>{"town":"Rom"}</f>', False),
        ("<f=other>{}</f>", False),
        ("<f=time>[]</f>", False),
        ('<f=weather>{"city":"Rom"}', False),
        ("so <g>x</g>", False),
        ("so <g>", False),
    ],
)
def test_tags_bind_what_is_within_them(text: str, is_good: bool):
    assert accepts(tags(STRUCTURES), text) == is_good


def form(value: dict[str, Any]) -> str:
    return tags({"type": "structural_tag", "format": value})


TAG = {"begin": "<f=a>", "content": {"type": "json_schema", "json_schema": CITY}, "end": "</f>"}
DIGIT = {"type": "tag", "begin": "<", "content": {"type": "regex", "pattern": r"\d/x"}, "end": ">"}
THINK = {"type": "tag", "begin": "<think>", "content": {"type": "any_text"}, "end": "</think>"}
TRIGGERED = {"type": "triggered_tags", "triggers": ["<f="], "tags": [TAG]}
BODY = '<f=a>{"city":"Rom"}</f>'


@pytest.mark.parametrize(
    ("value", "good", "bad"),
    [
        ({"type": "any_text"}, ["", "x\ny"], []),
        ({"type": "const_string", "value": "a\n"}, ["a\n"], ["a", ""]),
        (DIGIT, ["<7/x>"], ["<7x>", "7/x"]),
        (
            {"type": "or", "elements": [DIGIT, {"type": "const_string", "value": "b"}]},
            ["b", "<1/x>"],
            [""],
        ),
        (
            {"type": "sequence", "elements": [THINK, DIGIT]},
            ["<think>hm\n<</think><1/x>"],
            ["<1/x>", "<think>"],
        ),
        (
            {"type": "sequence", "elements": [THINK, TRIGGERED]},
            [f"<think></think>a{BODY}b"],
            [BODY],
        ),
        (TRIGGERED | {"at_least_one": True}, [BODY, f"a {BODY} b"], ["", "a"]),
        (TRIGGERED | {"stop_after_first": True}, ["", "a", f"a{BODY}"], [f"{BODY}b", BODY + BODY]),
        (
            {"type": "tags_with_separator", "separator": ", ", "tags": [DIGIT]},
            ["", "<1/x>", "<1/x>, <2/x>"],
            ["<1/x><2/x>", "<1/x>, "],
        ),
    ],
)
def test_formats_of_tags_take_what_they_should(value: Any, good: list[str], bad: list[str]):
    grammar = form(value)
    assert [text for text in good if not accepts(grammar, text)] == []
    assert [text for text in bad if accepts(grammar, text)] == []


@pytest.mark.parametrize("seed", range(6))
def test_what_is_drawn_in_a_tag_matches_its_schema(seed: int):
    found = walk(form(TRIGGERED | {"at_least_one": True, "stop_after_first": True}), seed)
    if found.is_finished:
        _, _, inner = found.text.partition("<f=a>")
        assert not faults(CITY, inner.removesuffix("</f>"))


def test_tags_made_of_special_tokens_are_those_tokens():
    begin, end = (tokenizer().tokenize_str(text, parse_special=True) for text in MARKS)
    assert len(begin) == len(end) == 1
    special: dict[str, int] = dict(zip(MARKS, (begin[0], end[0]), strict=True))
    value = {
        "structures": [{"begin": MARKS[0], "schema": {"type": "integer"}, "end": MARKS[1]}],
        "triggers": [MARKS[0]],
    }
    params = SamplingParams.from_dict({"structural_tag": value})
    grammar = grammar_of(params, special_tokens=special) or ""
    text = tokenizer().tokenize_str("so ")
    number = tokenizer().tokenize_str("12")
    assert takes(grammar, [*text, *begin, *number, *end, *text])
    assert not takes(grammar, [*text, *begin, *text])


MARKS = ("<|user|>", "<|assistant|>")


def takes(grammar: str, tokens: list[int]) -> bool:
    from llguidance import LLMatcher

    matcher = LLMatcher(tokenizer(), grammar, log_level=0)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

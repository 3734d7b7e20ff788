"""What binds an output reaches the engine, and what is wrong is named as the client said it."""

import json
from typing import Any, NamedTuple

import httpx
import pytest
from sgjax_server.constraints import read_format

from sgjax.constraint_fields import CONSTRAINTS
from tests.server.live import Live

CHAT, COMPLETIONS, GENERATE = "/v1/chat/completions", "/v1/completions", "/generate"
ANY_OBJECT = "$$ANY$$"
A_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
CLOSED = {"additionalProperties": False, **A_SCHEMA}
TAGS = {
    "structures": [{"begin": "<f>", "schema": A_SCHEMA, "end": "</f>"}],
    "triggers": ["<f>"],
}


def openai_format(**fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", **fields}}}


def body_of(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    if path == CHAT:
        return {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, **fields}
    if path == COMPLETIONS:
        return {"prompt": "a", "max_tokens": 2, **fields}
    return {"text": "a", "sampling_params": {"max_new_tokens": 2, **fields}}


SAID = [
    ({"response_format": {"type": "json_object"}}, "json_schema", ANY_OBJECT),
    (openai_format(schema=A_SCHEMA), "json_schema", A_SCHEMA),
    (openai_format(schema=A_SCHEMA, strict=False), "json_schema", A_SCHEMA),
    (openai_format(schema=A_SCHEMA, strict=True, description="d"), "json_schema", CLOSED),
    ({"response_format": {"type": "structural_tag", **TAGS}}, "structural_tag", TAGS),
    ({"regex": "[0-9]+"}, "regex", "[0-9]+"),
    ({"json_schema": json.dumps(A_SCHEMA)}, "json_schema", A_SCHEMA),
    ({"json_schema": A_SCHEMA}, "json_schema", A_SCHEMA),
    ({"ebnf": 'root ::= "a"'}, "ebnf", 'root ::= "a"'),
    ({"structural_tag": TAGS}, "structural_tag", TAGS),
    ({"structured_outputs": {"json": A_SCHEMA}}, "json_schema", A_SCHEMA),
    ({"structured_outputs": {"json": json.dumps(A_SCHEMA)}}, "json_schema", A_SCHEMA),
    ({"structured_outputs": {"json_object": True}}, "json_schema", ANY_OBJECT),
    ({"structured_outputs": {"regex": "a+"}}, "regex", "a+"),
    ({"structured_outputs": {"choice": ["a", "b"]}}, "choice", ("a", "b")),
    ({"structured_outputs": {"grammar": 'start: "a"'}}, "ebnf", 'start: "a"'),
    ({"structured_outputs": {"structural_tag": json.dumps(TAGS)}}, "structural_tag", TAGS),
    (
        {"structured_outputs": {"json": A_SCHEMA, "whitespace_pattern": " ?"}},
        "json_schema",
        A_SCHEMA | {"x-guidance": {"whitespace_pattern": " ?"}},
    ),
    ({"guided_json": A_SCHEMA}, "json_schema", A_SCHEMA),
    ({"guided_regex": "a"}, "regex", "a"),
    ({"guided_choice": ["é"]}, "choice", ("é",)),
    ({"guided_grammar": 'root ::= "a"'}, "ebnf", 'root ::= "a"'),
]
NATIVE = [
    ({"regex": "a"}, "regex", "a"),
    ({"json_schema": json.dumps(A_SCHEMA)}, "json_schema", A_SCHEMA),
    ({"json_schema": A_SCHEMA, "regex": None}, "json_schema", A_SCHEMA),
    ({"ebnf": 'root ::= "a"'}, "ebnf", 'root ::= "a"'),
    ({"structural_tag": json.dumps(TAGS)}, "structural_tag", TAGS),
    ({"choice": ["a", "b"]}, "choice", ("a", "b")),
]


def plain(value: Any) -> Any:
    """JSON text as what it says."""
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


@pytest.mark.parametrize(
    ("path", "fields", "name", "value"),
    [(path, *said) for path in (CHAT, COMPLETIONS) for said in SAID]
    + [(GENERATE, *said) for said in NATIVE],
)
def test_constraint_reaches_the_engine(
    http: httpx.Client, server: Live, path: str, fields: dict[str, Any], name: str, value: Any
):
    answer = http.post(path, json=body_of(path, fields))
    assert answer.status_code == 200, answer.text
    submit = server.client.submits[-1]
    given = {each: getattr(submit.params, each) for each in CONSTRAINTS}
    assert {each: plain(said) for each, said in given.items() if said is not None} == {name: value}
    assert submit.grammar


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    "fields", [{"response_format": {"type": "text"}}, {"regex": None}, {"structured_outputs": {}}]
)
def test_nothing_is_bound_where_nothing_is_asked(
    http: httpx.Client, server: Live, path: str, fields: dict[str, Any]
):
    assert http.post(path, json=body_of(path, fields)).status_code == 200
    assert server.client.submits[-1].grammar is None


class Bad(NamedTuple):
    fields: dict[str, Any]
    param: str
    says: str


OF_FORMAT = "response_format.json_schema.schema"
BAD = [
    Bad({"response_format": {"type": "poem"}}, "response_format", "'json_schema'"),
    Bad({"response_format": {}}, "response_format", "type"),
    Bad({"response_format": "text"}, "response_format", "dictionary"),
    Bad({"response_format": {"type": "json_schema"}}, "response_format", "required"),
    Bad(openai_format(), "response_format", "required"),
    Bad(openai_format(schema={"type": "x"}), OF_FORMAT, f"{OF_FORMAT} at /type: 'x' is no type"),
    Bad(openai_format(schema={"$ref": "#/$defs/x"}), OF_FORMAT, "points to nothing"),
    Bad(openai_format(schema={"allOf": [{}, {}]}, strict=True), OF_FORMAT, "strict closes"),
    Bad(
        openai_format(schema={"minimum": 2, "maximum": 1, "type": "integer"}), OF_FORMAT, "no value"
    ),
    Bad({"response_format": {"type": "structural_tag"}}, "response_format", "structures"),
    Bad({"regex": "("}, "regex", "unclosed group"),
    Bad({"regex": "(?<=a)b"}, "regex", "lookbehind"),
    Bad({"regex": ""}, "regex", "at least 1 character"),
    Bad({"regex": 7}, "regex", "string"),
    Bad({"json_schema": "{"}, "json_schema", "not valid JSON"),
    Bad({"json_schema": []}, "json_schema", "json_schema"),
    Bad({"ebnf": "root ::= x"}, "ebnf", "not defined"),
    Bad(
        {"structured_outputs": {"json": "{"}}, "structured_outputs.json", "structured_outputs.json:"
    ),
    Bad({"structured_outputs": {"regex": "("}}, "structured_outputs.regex", "unclosed"),
    Bad({"structured_outputs": {"grammar": "@"}}, "structured_outputs.grammar", "line 1"),
    Bad({"structured_outputs": {"choice": []}}, "structured_outputs", "at least 1"),
    Bad(
        {"structured_outputs": {"choice": ["a"], "regex": "b"}}, "structured_outputs.choice", "both"
    ),
    Bad(
        {"structured_outputs": {"regex": "a", "whitespace_pattern": " "}},
        "structured_outputs.whitespace_pattern",
        "for json",
    ),
    Bad({"guided_json": {"type": "x"}}, "guided_json", "guided_json at /type"),
    Bad({"guided_choice": [1]}, "guided_choice", "string"),
    Bad({"guided_regex": "(", "regex": None}, "guided_regex", "unclosed"),
    Bad({"regex": "a", "ebnf": "b"}, "ebnf", "both regex and ebnf"),
    Bad(
        {"regex": "a", "response_format": {"type": "json_object"}}, "regex", "both response_format"
    ),
    Bad({"guided_json": {}, "structured_outputs": {"json": {}}}, "structured_outputs.json", "both"),
    Bad({"regex": "a", "min_tokens": 1}, "min_tokens", "min_tokens (1) cannot be had"),
]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: json.dumps(bad.fields)[:60])
def test_bad_constraint_is_a_400_by_the_client_s_own_names(
    http: httpx.Client, server: Live, path: str, bad: Bad
):
    answer = http.post(path, json=body_of(path, bad.fields))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (bad.param, "invalid_request_error")
    assert bad.says in error["message"]
    assert http.post(path, json=body_of(path, {})).status_code == 200


@pytest.mark.parametrize("depth", [70, 900])
def test_deep_schema_is_a_400(http: httpx.Client, server: Live, depth: int):
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    for strict in (True, False):
        fields = openai_format(schema=schema, strict=strict)
        answer = http.post(CHAT, json=body_of(CHAT, fields))
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == OF_FORMAT


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"regex": "("}, "unclosed group"),
        ({"regex": "a", "choice": ["a"]}, "both regex and choice"),
        ({"json_schema": {"type": "x"}}, "json_schema at /type"),
        ({"choice": []}, "1 to 4096"),
        ({"json_schema": 7}, "must be a string, not int"),
    ],
)
def test_bad_constraint_of_generate_is_a_400(
    http: httpx.Client, server: Live, fields: dict[str, Any], says: str
):
    answer = http.post(GENERATE, json=body_of(GENERATE, fields))
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] in fields


def test_format_alone_is_read_for_other_forms():
    assert read_format(None) == {}
    assert read_format({"type": "json_object"}) == {"json_schema": ANY_OBJECT}


def test_responses_and_messages_are_bound_too(http: httpx.Client, server: Live):
    text = {"format": {"type": "json_schema", "name": "a", "schema": A_SCHEMA, "strict": True}}
    answer = http.post("/v1/responses", json={"input": "Hi", "text": text, "max_output_tokens": 2})
    assert answer.status_code == 200, answer.text
    assert plain(server.client.submits[-1].params.json_schema) == CLOSED
    bad = text | {"format": text["format"] | {"schema": {"type": "x"}}}
    answer = http.post("/v1/responses", json={"input": "Hi", "text": bad})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "text.format.schema"

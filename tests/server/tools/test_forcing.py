"""What grammars of calls allow, parsers read: names of tools, and arguments by their schemas."""

import json

import jsonschema
import pytest
from sgjax_server.chat_events import ChatMessage
from sgjax_server.tools import FORMATS
from sgjax_server.tools.forcing import grammar_of_calls
from sgjax_server.tools.lark import Lark
from sgjax_server.tools.tool import ToolChoice, read_tools

from sgjax.errors import InvalidRequest
from tests.server.tools.test_formats import message_of
from tests.server.tools.transcripts import NOW, SEARCH, TOOLS, WEATHER
from tests.server.tools.walks import Walk, tokenizer_with

SCHEMAS = {tool["name"]: tool["parameters"] for tool in (NOW, SEARCH, WEATHER)}
NAMES = sorted(set(FORMATS) - {"qwen", "qwen25"})
THINK = ("<think>", "</think>")


def lark_of(markers: tuple[str, ...]) -> Lark:
    tokenizer, _ = tokenizer_with(markers)
    special = [i for i in tokenizer.added_tokens.values() if tokenizer.is_special(i)]
    return Lark(tokenizer.added_tokens, frozenset(special))


def outputs(
    name: str, choice: ToolChoice, *, has_tokens: bool, count: int = 12, answer: str | None = None
) -> list[str]:
    """Outputs that came to an end; with `has_tokens` markers are special tokens."""
    markers = (*FORMATS[name].markers, *THINK) if has_tokens else ()
    lark = lark_of(markers)
    grammar = grammar_of_calls(choice, FORMATS[name].form(lark.tokens), lark, answer)
    texts = [Walk(grammar, markers, seed).text() for seed in range(count)]
    found = [text for text in texts if text is not None]
    assert len(found) >= count // 3, "too few walks came to an end"
    return found


def check(message: ChatMessage) -> None:
    for call in message.calls:
        arguments = json.loads(call.arguments)
        jsonschema.validate(arguments, SCHEMAS[call.name])
        assert set(arguments) <= set(SCHEMAS[call.name]["properties"])


@pytest.mark.parametrize("has_tokens", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_must_be_is_read_as_one(name: str, has_tokens: bool) -> None:
    choice = ToolChoice(read_tools(TOOLS), is_forced=True)
    several = 0
    for text in outputs(name, choice, has_tokens=has_tokens):
        message = message_of(name, [text])
        assert message.calls and not message.content, text
        several += len(message.calls) > 1
        check(message)
    assert several or name == "gpt-oss"


@pytest.mark.parametrize("name", NAMES)
def test_only_the_named_tool_is_called_and_once(name: str) -> None:
    choice = ToolChoice({"search": read_tools(TOOLS)["search"]}, is_forced=True, is_parallel=False)
    for text in outputs(name, choice, has_tokens=True):
        message = message_of(name, [text])
        assert [call.name for call in message.calls] == ["search"]
        check(message)


@pytest.mark.parametrize("name", NAMES)
def test_strict_tools_are_called_by_their_schemas_or_not_at_all(name: str) -> None:
    tools = [{**tool, "function": {**tool["function"], "strict": True}} for tool in TOOLS]
    for is_parallel in (True, False):
        choice = ToolChoice(read_tools(tools), is_parallel=is_parallel)
        for text in outputs(name, choice, has_tokens=True):
            message = message_of(name, [text])
            assert is_parallel or len(message.calls) <= 1
            check(message)


@pytest.mark.parametrize("name", ["qwen3_coder", "glm45"])
def test_strings_between_tags_keep_to_their_limits(name: str) -> None:
    limits = {"code": {"type": "string", "pattern": "^[A-Z]{2}-(a|b)$"}}
    limits["short"] = {"type": "string", "minLength": 1, "maxLength": 3}
    limits["kind"] = {"$ref": "#/$defs/Kind"}
    schema = {
        "type": "object",
        "properties": limits,
        "required": [*limits],
        "$defs": {"Kind": {"enum": ["x y", "<z>"]}},
    }
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    choice = ToolChoice(read_tools(tools), is_forced=True)
    for text in outputs(name, choice, has_tokens=name == "glm45"):
        message = message_of(name, [text], tools=choice.tools)
        assert not message.content
        for call in message.calls:
            jsonschema.validate(json.loads(call.arguments), schema)


def test_a_pattern_with_loose_alternatives_is_refused() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^a|b$"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    choice = ToolChoice(read_tools(tools), is_forced=True)
    with pytest.raises(InvalidRequest, match="group"):
        grammar_of_calls(choice, FORMATS["glm45"].form(()), lark_of(()))


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_by_a_schema_comes_instead_of_calls(name: str) -> None:
    lark = lark_of((*FORMATS[name].markers, *THINK))
    answer = lark.json({"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"]})
    choice = ToolChoice(read_tools(TOOLS))
    answered = called = 0
    for text in outputs(name, choice, has_tokens=True, count=30, answer=answer):
        message = message_of(name, [text])
        assert bool(message.calls) != bool(message.content), text
        called += bool(message.calls)
        if message.content:
            answered += json.loads(message.content)["x"] in (1, 2)
    assert answered and called


@pytest.mark.parametrize("name", ["llama3", "pythonic"])
def test_calls_that_look_like_answers_are_refused_beside_a_bound_answer(name: str) -> None:
    choice = ToolChoice(read_tools(TOOLS))
    with pytest.raises(InvalidRequest, match="tool_choice"):
        grammar_of_calls(choice, FORMATS[name].form(()), lark_of(()), "/[a-z]/")


def test_a_schema_that_binds_nothing_is_refused_with_its_tool() -> None:
    bad = {"type": "object", "properties": {"a": {"type": "wordy"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": bad}}]
    choice = ToolChoice(read_tools(tools), is_forced=True)
    with pytest.raises(InvalidRequest, match="'f'") as caught:
        grammar_of_calls(choice, FORMATS["hermes"].form(()), lark_of(()))
    assert caught.value.param == "tools"

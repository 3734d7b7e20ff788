"""Calls in the text of models: every format, in any fragments, cut off anywhere."""

import json
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgjax_server import reasoning
from sgjax_server.chat_events import ChatMessage, Event
from sgjax_server.chat_reader import ChatReader
from sgjax_server.tools import FORMATS, guess_format
from sgjax_server.tools.scanner import PartReader
from sgjax_server.tools.tool import Tools, read_tools

from sgjax.engine.request import FinishReason
from sgjax.front.piece import Piece
from tests.server.tools.transcripts import TOOLS, TRANSCRIPTS

KNOWN = read_tools(TOOLS)
STOP = FinishReason("stop", matched=0)
LENGTH = FinishReason("length", length=1)


def reader(name: str, tools: Tools = KNOWN) -> ChatReader:
    form = FORMATS[name]
    numbers = iter(range(1000))
    calls = PartReader(lambda source: form.read(source, tools))
    thoughts = None
    if form.reasoning:
        thinking = reasoning.FORMATS[form.reasoning]
        thoughts = PartReader(lambda source: thinking.read(source, "unknown"))
    return ChatReader(thoughts, calls, new_id=lambda: f"id{next(numbers)}")


def events_of(
    name: str, fragments: Sequence[str], finish: FinishReason = STOP, tools: Tools = KNOWN
) -> list[Event]:
    read = reader(name, tools)
    events = [event for text in fragments for event in read.read(Piece(text, []))]
    return events + read.read(Piece("", [], finish))


def message_of(
    name: str, fragments: Sequence[str], finish: FinishReason = STOP, tools: Tools = KNOWN
) -> ChatMessage:
    message = ChatMessage()
    for event in events_of(name, fragments, finish, tools):
        message.add(event)
    return message


@pytest.mark.parametrize(("name", "text", "content", "calls"), TRANSCRIPTS)
def test_what_a_model_wrote_is_read(
    name: str, text: str, content: str, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    for fragments in ([text], [*text]):
        message = message_of(name, fragments)
        assert message.content == content
        assert [(call.name, json.loads(call.arguments)) for call in message.calls] == calls
        assert message.end is not None
        assert message.end.reason == ("tool_calls" if calls else "stop")


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_fragments_say_the_same_as_the_whole(data: st.DataObject) -> None:
    name, text, _, _ = data.draw(st.sampled_from(TRANSCRIPTS))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    fragments = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert message_of(name, fragments) == message_of(name, [text])


@pytest.mark.parametrize(("name", "text", "content", "calls"), TRANSCRIPTS)
def test_an_output_that_is_cut_off_is_no_whole_call(
    name: str, text: str, content: str, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    for length in range(len(text)):
        message = message_of(name, [text[:length]], LENGTH)
        assert message == message_of(name, [*text[:length]], LENGTH)
        assert message.end is not None and message.end.reason == "length"
        for index, call in enumerate(message.calls):
            assert call.name == calls[index][0]
            try:
                arguments = json.loads(call.arguments)
            except ValueError:
                assert index == len(message.calls) - 1
            else:
                assert arguments == calls[index][1]


@given(name=st.sampled_from(sorted(FORMATS)), data=st.data())
@settings(max_examples=500, deadline=None)
def test_no_text_breaks_a_parser(name: str, data: st.DataObject) -> None:
    words = sorted({*FORMATS[name].markers, *"{}[]()\"'\\,:=; \n", "now", "name", '"arguments"'})
    words += ['{"name": "now", ', '"arguments": {', "<function=", "<parameter=", ">", "to=", "```"]
    words += ['"\\ud800"', "1e999", "NaN", "-1", "f(a=", "functions.now:0", "get_weather"]
    words += ["<arg_key>a</arg_key>", "<arg_value>", "\x00", "None"]
    text = data.draw(st.lists(st.sampled_from(words), max_size=12))
    message = message_of(name, text)
    assert message == message_of(name, ["".join(text)])
    orjson.dumps([message.content, [(call.name, call.arguments) for call in message.calls]])


ODD = ['"\\ud800"', "1e999", "NaN", "1" * 5000, "[" * 3000, '{"a": 1e999}']


@pytest.mark.parametrize("value", ODD)
def test_odd_values_are_told_as_json(value: str) -> None:
    schema: Any = {"properties": {"x": {"type": [{}]}, "y": {"$ref": "http://a/b"}, "z": True}}
    tools = read_tools([{"type": "function", "function": {"name": "f", "parameters": schema}}])
    tags = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key in "xyz")
    texts = {
        "pythonic": f"[f(x={value}, y=1)]" if "[[" not in value else "[f(x='[[', y=1)]",
        "qwen3_coder": f"<function=f>\n{tags}</function>",
        "hermes": f'<tool_call>{{"name": "f", "arguments": {json.dumps(value)}}}</tool_call>',
    }
    for name, text in texts.items():
        (call,) = message_of(name, [text], tools=tools).calls
        assert isinstance(orjson.loads(orjson.dumps(call.arguments)), str)
        json.loads(call.arguments)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_template_shows_the_format_by_the_words_that_calls_are_written_with(name: str) -> None:
    form = FORMATS[name].form(())
    words = [form.opening, form.begin, form.end, *FORMATS[name].markers]
    assert guess_format(f"{{{{ '{''.join(words)}' }}}}") is FORMATS[name]


def test_other_templates_show_none() -> None:
    assert guess_format("{% for m in messages %}{{ m.content }}{% endfor %}") is None

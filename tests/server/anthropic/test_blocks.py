"""Blocks of a message, and the events that tell of them."""

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sgjax_server.anthropic.blocks import Blocks
from sgjax_server.chat_events import CallArguments, CallBegin, Content, Event, Reasoning

_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "fake",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 0},
    },
}


def told(*events: Event, shows_thoughts: bool = True) -> tuple[list[dict[str, Any]], Blocks]:
    blocks = Blocks(shows_thoughts=shows_thoughts)
    found = [each for event in events for each in blocks.take(event)]
    return found + blocks.end(), blocks


def as_the_client_has_it(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content that Anthropic's client puts together."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in [_START, *events]:
        snapshot = accumulate_event(
            event=_EVENT.validate_python(event), current_snapshot=snapshot, json_bufs=buffers
        )
    return [block.to_dict() for block in snapshot.content]


def test_each_kind_has_its_deltas() -> None:
    events, blocks = told(
        Reasoning("Hm"),
        Content("Wait."),
        CallBegin(0, "t1", "f"),
        CallArguments(0, '{"a": '),
        CallArguments(0, "1}"),
    )
    assert [event["type"].removeprefix("content_block_") for event in events] == [
        *("start", "delta", "delta", "stop"),
        *("start", "delta", "stop"),
        *("start", "delta", "delta", "stop"),
    ]
    assert [event["delta"]["type"] for event in events if "delta" in event] == [
        "thinking_delta",
        "signature_delta",
        "text_delta",
        "input_json_delta",
        "input_json_delta",
    ]
    assert [event["index"] for event in events] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    thinking, text, use = blocks.content
    assert thinking["thinking"] == "Hm" and thinking["signature"]
    assert text == {"type": "text", "text": "Wait."}
    assert use == {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}


def test_thoughts_that_are_not_wanted_are_not_told() -> None:
    events, blocks = told(Reasoning("Hm"), Content("a"), shows_thoughts=False)
    assert [block["type"] for block in blocks.content] == ["text"]
    assert events[0]["index"] == 0


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ('{"a": "b', {"a": "b"}),
        ("7", {"invalid_json": "7"}),
        ("{a: 1}", {"invalid_json": "{a: 1}"}),
    ],
)
def test_the_input_of_a_use_is_always_an_object(arguments: str, found: Any) -> None:
    _, blocks = told(CallBegin(0, "t", "f"), CallArguments(0, arguments))
    assert blocks.content[0]["input"] == found


FRAGMENTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5)
VALUES = st.dictionaries(
    st.text(max_size=3), st.one_of(st.integers(-9, 9), st.text(max_size=5), st.none()), max_size=3
)


@st.composite
def stories(draw: Any) -> list[Event]:
    news: list[Event] = []
    kinds = draw(st.lists(st.sampled_from(["text", "thought", "call"]), max_size=6))
    for kind in kinds:
        if kind == "call":
            text = json.dumps(draw(VALUES), ensure_ascii=False)
            cut = draw(st.integers(0, len(text)))
            index = sum(isinstance(event, CallBegin) for event in news)
            news.append(CallBegin(index, f"t{index}", "f"))
            news += [CallArguments(index, text[:cut]), CallArguments(index, text[cut:])]
        else:
            news += [
                Content(each) if kind == "text" else Reasoning(each) for each in draw(FRAGMENTS)
            ]
    return news


@given(stories())
def test_clients_put_together_what_is_said_at_once(news: list[Event]) -> None:
    events, blocks = told(*news)
    assert as_the_client_has_it(events) == blocks.content

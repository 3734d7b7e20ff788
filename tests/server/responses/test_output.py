"""Output items, and the events that tell of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter
from sgjax_server.chat_events import CallArguments, CallBegin, Content, Event, Reasoning
from sgjax_server.responses.output import Output

from sgjax.engine.messages import Logprobs
from tests.front.fakes import byte_tokenizer, logprob_of

TOKENIZER = byte_tokenizer()
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def told(*events: Event, status: Any = "completed") -> tuple[list[dict[str, Any]], Output]:
    """All events of an output, numbered, checked against the client's own types."""
    output = Output(TOKENIZER)
    found = [each for event in events for each in output.take(event)] + output.end(status)
    numbered = [{**each, "sequence_number": at} for at, each in enumerate(found)]
    for each in numbered:
        _EVENT.validate_python(each)
    return numbered, output


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_text_is_a_message_with_one_part() -> None:
    events, output = told(Content("He"), Content("y"))
    assert types(events) == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]
    (item,) = output.items
    part = {"type": "output_text", "text": "Hey", "annotations": [], "logprobs": []}
    assert item["content"] == [part] and item["status"] == "completed"
    assert events[-1]["item"] == item and events[-2]["part"] == part
    assert events[0]["item"] == {**item, "content": [], "status": "in_progress"}
    assert {event["item_id"] for event in events[1:-1]} == {item["id"]}


def test_thoughts_an_answer_and_calls_are_items_in_their_order() -> None:
    events, output = told(
        Reasoning("Hm"),
        Reasoning("."),
        Content("Wait."),
        CallBegin(0, "c1", "f"),
        CallArguments(0, '{"a"'),
        CallArguments(0, ": 1}"),
        CallBegin(1, "c2", "g"),
        CallArguments(1, "{}"),
    )
    assert [item["type"] for item in output.items] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    thoughts, _, call, other = output.items
    assert thoughts["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert (call["call_id"], call["name"], call["arguments"]) == ("c1", "f", '{"a": 1}')
    assert (other["call_id"], other["arguments"]) == ("c2", "{}")
    done = [event for event in events if event["type"].endswith("item.done")]
    assert [event["output_index"] for event in done] == [0, 1, 2, 3]
    assert [event["item"] for event in done] == output.items
    assert types(events)[:6] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
    ]
    assert types(events)[-4:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]


def test_what_was_cut_off_is_incomplete_and_what_ended_before_is_not() -> None:
    _, output = told(
        Content("a"), CallBegin(0, "c", "f"), CallArguments(0, '{"'), status="incomplete"
    )
    assert [item["status"] for item in output.items] == ["completed", "incomplete"]


def test_who_said_nothing_said_an_empty_message() -> None:
    events, output = told()
    assert output.items[0]["content"][0]["text"] == ""
    assert len(events) == 5


def logprobs(*tokens: int) -> Logprobs:
    return Logprobs(list(tokens), [logprob_of(token) for token in tokens], None)


def text_logprobs(output: Output) -> list[str]:
    (item,) = [item for item in output.items if item["type"] == "message"]
    return [entry["token"] for entry in item["content"][0]["logprobs"]]


def test_logprobs_of_half_a_character_come_with_the_whole() -> None:
    first, second = "ü".encode()
    events, output = told(
        Content("", logprobs(first)), Content("ü", logprobs(second)), Content("", logprobs(65))
    )
    assert len(text_logprobs(output)) == 3
    deltas = [event for event in events if event["type"].endswith("delta")]
    assert [len(event["logprobs"]) for event in deltas] == [2, 1]
    assert events[-3]["logprobs"] == output.items[0]["content"][0]["logprobs"]


def test_logprobs_of_thoughts_and_calls_are_not_those_of_the_text() -> None:
    _, output = told(
        Content("", logprobs(65)),
        Reasoning("A"),
        Content("", logprobs(66)),
        Content("C", logprobs(67)),
        CallBegin(0, "c", "f"),
        Content("", logprobs(68)),
    )
    assert text_logprobs(output) == ["C"]


FRAGMENTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6)
STORIES = st.lists(st.tuples(st.sampled_from(["text", "thought", "call"]), FRAGMENTS), max_size=6)


@given(STORIES, st.sampled_from(["completed", "incomplete"]))
def test_deltas_join_to_what_is_said_at_the_end(stories: Any, status: Any) -> None:
    news: list[Event] = []
    num_calls = 0
    for kind, fragments in stories:
        if kind == "call":
            news.append(CallBegin(num_calls, f"c{num_calls}", "f"))
            news += [CallArguments(num_calls, fragment) for fragment in fragments]
            num_calls += 1
        else:
            news += [Content(f) if kind == "text" else Reasoning(f) for f in fragments]
    events, output = told(*news, status=status)
    for index, item in enumerate(output.items):
        mine = [event for event in events if event.get("output_index") == index]
        assert mine[0]["type"] == "response.output_item.added"
        assert mine[-1] == {
            "type": "response.output_item.done",
            "output_index": index,
            "item": item,
            "sequence_number": mine[-1]["sequence_number"],
        }
        joined = "".join(event["delta"] for event in mine if event["type"].endswith(".delta"))
        whole = item["arguments"] if "arguments" in item else item["content"][0]["text"]
        assert joined == whole
    said = "".join("".join(fragments) for _, fragments in stories)
    assert said == "".join(
        item["arguments"] if "arguments" in item else item["content"][0]["text"]
        for item in output.items
    )


def test_an_event_does_not_change_when_more_comes() -> None:
    output = Output(TOKENIZER)
    added = output.take(Content("a"))[0]
    before = dict(added["item"])
    output.take(Content("b"))
    output.end("completed")
    assert added["item"] == before == {**before, "content": []}


@pytest.mark.parametrize("num_events", [1, 2, 3])
def test_items_are_whole_while_they_grow(num_events: int) -> None:
    output = Output(TOKENIZER)
    for _ in range(num_events):
        output.take(Content("ab"))
    (item,) = output.items
    assert item["status"] == "in_progress"
    assert item["content"][0]["text"] == "ab" * num_events

"""Input items: how they are read, and the messages they make."""

from typing import Any

import pytest
from pydantic import TypeAdapter
from sgjax_server.responses.input import Input
from sgjax_server.responses.items import messages_of, read_items

from sgjax.errors import InvalidRequest

_ITEMS: TypeAdapter[Any] = TypeAdapter(list[Input])


def no_item(item_id: str) -> Any:
    raise InvalidRequest(f"no item {item_id}")


def read(*items: Any) -> list[dict[str, Any]]:
    return read_items(_ITEMS.validate_python(list(items)), no_item)


def chat(*items: Any, instructions: str | None = None) -> list[dict[str, Any]]:
    return messages_of(instructions, read(*items))


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "7"}
THOUGHTS = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
}
USER = {"role": "user", "content": "Hi"}


def test_a_text_is_a_message_of_the_user() -> None:
    assert messages_of(None, read_items("Hi", no_item)) == [USER]


def test_roles_and_parts_are_kept_in_order() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    said = [
        {"type": "output_text", "text": "c", "annotations": []},
        {"type": "refusal", "refusal": "d"},
    ]
    assert chat(
        {"role": "user", "content": parts},
        {"type": "message", "role": "assistant", "content": said},
        {"role": "developer", "content": "e"},
    ) == [
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "cd"},
        {"role": "developer", "content": "e"},
    ]


def test_instructions_and_what_the_developer_says_first_are_one_message() -> None:
    found = chat({"role": "developer", "content": "b"}, USER, instructions="a")
    assert found == [{"role": "system", "content": "a\n\nb"}, USER]
    assert chat(USER, instructions="a")[0] == {"role": "system", "content": "a"}


def test_thoughts_answer_and_calls_are_one_message_of_the_assistant() -> None:
    found = chat(USER, THOUGHTS, {"role": "assistant", "content": "Wait."}, CALL, OUTPUT)
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert found == [
        USER,
        {
            "role": "assistant",
            "content": "Wait.",
            "reasoning_content": "Hm.",
            "tool_calls": [call],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "7"},
    ]


def test_calls_at_once_are_calls_of_one_message() -> None:
    found = chat(USER, CALL, CALL | {"call_id": "c2"}, OUTPUT, OUTPUT | {"call_id": "c2"})
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in found[1]["tool_calls"]] == ["c1", "c2"]


def test_a_call_after_an_output_begins_a_new_message() -> None:
    found = chat(USER, CALL, OUTPUT, THOUGHTS, CALL | {"call_id": "c2"})
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant"]
    assert found[3]["reasoning_content"] == "Hm."
    assert [call["id"] for call in found[3]["tool_calls"]] == ["c2"]


def test_two_answers_stay_two_messages() -> None:
    said = {"role": "assistant", "content": "a"}
    assert chat(USER, said, said) == [USER, said, said]


def test_an_output_of_a_call_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no function_call of this call_id"):
        chat(USER, OUTPUT)


def test_an_output_may_be_parts() -> None:
    output = OUTPUT | {"output": [{"type": "input_text", "text": "7"}]}
    assert chat(CALL, output)[-1]["content"] == "7"


def test_thoughts_without_text_are_no_message() -> None:
    assert chat({"type": "reasoning", "id": "rs_1", "summary": []}, USER) == [USER]


def test_thoughts_that_another_server_encrypted_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="written by another server"):
        chat({"type": "reasoning", "summary": [], "encrypted_content": "x"})


def test_ids_are_ours_and_all_different() -> None:
    items = read(USER, USER, CALL | {"id": "fc_1"}, OUTPUT, THOUGHTS)
    ids = [item["id"] for item in items]
    assert len(set(ids)) == 5 and "fc_1" not in ids
    assert [each.split("_")[0] for each in ids] == ["msg", "msg", "fc", "fco", "rs"]


def test_a_reference_is_the_item_that_was_kept() -> None:
    kept = {"type": "message", "id": "msg_1", "role": "user", "content": []}
    for reference in ({"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}):
        assert read_items(_ITEMS.validate_python([reference]), {"msg_1": kept}.__getitem__) == [
            kept
        ]


def test_what_came_out_makes_the_message_that_it_was() -> None:
    """Items that a client sends back are those that it got."""
    items = read(USER, THOUGHTS, {"role": "assistant", "content": "Wait."}, CALL, OUTPUT)
    assert messages_of(None, read(*items)) == messages_of(None, items)

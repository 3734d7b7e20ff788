"""Anthropic's messages as those of a chat."""

from typing import Any

import pytest
from pydantic import TypeAdapter
from sgjax_server.anthropic.body import Message
from sgjax_server.anthropic.prompt import messages_of

from sgjax.errors import InvalidRequest

_MESSAGES: TypeAdapter[list[Message]] = TypeAdapter(list[Message])


def chat(*messages: Any, system: Any = None) -> list[dict[str, Any]]:
    return messages_of(system, _MESSAGES.validate_python(list(messages)))


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else [*content]}


def assistant(*content: Any) -> dict[str, Any]:
    return user(*content) | {"role": "assistant"}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value, "cache_control": {"type": "ephemeral"}}


USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "ä"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "7"}
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


def test_the_system_comes_first_and_blocks_are_joined() -> None:
    found = chat(user(text("a"), text("b")), system="Be brief.")
    assert found == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ab"}]


def test_turns_of_one_role_are_one() -> None:
    found = chat(user("a"), user("b"), assistant("c"), assistant("d"), user("e"))
    assert [(each["role"], each["content"]) for each in found] == [
        ("user", "a\n\nb"),
        ("assistant", "c\n\nd"),
        ("user", "e"),
    ]


def test_thoughts_text_and_uses_are_one_message() -> None:
    (_, found) = chat(user("Hi"), assistant(THINKING, text("Wait."), USE))
    assert found["reasoning_content"] == "Hm." and found["content"] == "Wait."
    function = {"name": "f", "arguments": '{"a": "ä"}'}
    assert found["tool_calls"] == [{"id": "t1", "type": "function", "function": function}]


def test_results_come_before_what_the_user_says() -> None:
    found = chat(user("Hi"), assistant(USE), user(RESULT, text("And?")))
    assert found[2:] == [
        {"role": "tool", "tool_call_id": "t1", "name": "f", "content": "7"},
        {"role": "user", "content": "And?"},
    ]


def test_a_result_alone_needs_no_message_of_the_user() -> None:
    found = chat(user("Hi"), assistant(USE), user(RESULT))
    assert [each["role"] for each in found] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"content": [text("a"), text("b")]}, "ab"),
        ({"content": None}, ""),
        ({"is_error": True}, "Error: 7"),
    ],
)
def test_a_result_is_text(change: Any, said: str) -> None:
    assert chat(user("Hi"), assistant(USE), user(RESULT | change))[-1]["content"] == said


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([user("Hi"), user(RESULT)], "messages.1.content.0: there is no tool_use"),
        ([user(USE)], "no meaning in a message of the user"),
        ([user(text("a"), THINKING)], "messages.0.content.1"),
        ([assistant(USE), assistant(RESULT)], "no meaning in a message of the assistant"),
    ],
)
def test_a_block_in_the_wrong_place_is_refused(messages: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        chat(*messages)

"""Thoughts apart from answers: in the text of models, and through the app."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgjax_server.chat_events import ChatMessage, Reasoning
from sgjax_server.chat_reader import ChatReader
from sgjax_server.reasoning import FORMATS
from sgjax_server.reasoning.count import State, ThoughtCount
from sgjax_server.tools.scanner import PartReader

from sgjax.engine.request import FinishReason
from sgjax.front.piece import Piece
from tests.server.chats import Chats, run
from tests.server.test_tools import NOW, TOOL

USER: Any = [{"role": "user", "content": "Hi"}]
HARMONY = (
    "<|channel|>analysis<|message|>They greet.<|end|><|start|>assistant<|channel|>final<|message|>"
    "Hello <b>!"
)

# (format, state, text, thoughts, answer)
TRANSCRIPTS: list[tuple[str, State, str, str, str]] = [
    ("qwen3", "unknown", "<think>\nOne, two.\n</think>\n\nThree.\n", "One, two.", "Three.\n"),
    ("qwen3", "unknown", "Three.\n", "", "Three.\n"),
    ("qwen3", "unknown", " <thing> or not", "", " <thing> or not"),
    ("qwen3", "open", "One.\n\nTwo </thin .\n</think>\n\n3", "One.\n\nTwo </thin .", "3"),
    ("qwen3", "closed", "\nThree </think>", "", "\nThree </think>"),
    ("qwen3", "unknown", "<think>\n\n</think>\n\nThree", "", "Three"),
    ("deepseek-r1", "unknown", "Hm.\n</think>\nYes", "Hm.", "Yes"),
    ("deepseek-r1", "open", "<think>\nHm.</think>Yes", "Hm.", "Yes"),
    ("deepseek-r1", "unknown", "It never ends", "It never ends", ""),
    ("kimi", "unknown", "◁think▷Hm ◁/thi◁/think▷Yes", "Hm ◁/thi", "Yes"),
    ("mistral", "unknown", "[THINK]Hm[/THINK]Yes", "Hm", "Yes"),
    ("gpt-oss", "unknown", HARMONY, "They greet.", "Hello <b>!"),
    ("gpt-oss", "unknown", "<|channel|>final<|message|>Yes", "", "Yes"),
    (
        "gpt-oss",
        "unknown",
        "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "B <|end|><|start|>assistant<|channel|>final<|message|>C",
        "A",
        "B C",
    ),
]


def message_of(name: str, state: State, fragments: Sequence[str]) -> ChatMessage:
    reader = ChatReader(PartReader(lambda source: FORMATS[name].read(source, state)))
    message = ChatMessage()
    for text in fragments:
        for event in reader.read(Piece(text, [])):
            message.add(event)
    for event in reader.read(Piece("", [], FinishReason("stop", matched=0))):
        message.add(event)
    return message


@pytest.mark.parametrize(("name", "state", "text", "thoughts", "answer"), TRANSCRIPTS)
def test_thoughts_are_told_from_the_answer(
    name: str, state: State, text: str, thoughts: str, answer: str
) -> None:
    for fragments in ([text], [*text]):
        message = message_of(name, state, fragments)
        assert (message.reasoning, message.content) == (thoughts, answer)


@given(data=st.data())
def test_fragments_say_the_same_as_the_whole(data: st.DataObject) -> None:
    name, state, text, _, _ = data.draw(st.sampled_from(TRANSCRIPTS))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=9)))
    fragments = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert message_of(name, state, fragments) == message_of(name, state, [text])


def test_an_output_that_is_cut_off_is_read_the_same_in_any_fragments() -> None:
    for name, state, text, _, _ in TRANSCRIPTS:
        for length in range(len(text)):
            message = message_of(name, state, [*text[:length]])
            assert message == message_of(name, state, [text[:length]])


@pytest.mark.parametrize(
    ("prompt", "state"),
    [("[a]<think>\n", "open"), ("[a]<think>\n\n</think>\n\n", "closed"), ("<think>[a]", "unknown")],
)
def test_the_prompt_says_whether_the_model_thinks(prompt: str, state: State) -> None:
    assert FORMATS["qwen3"].state_after(prompt) == state


def test_tokens_of_thoughts_are_counted_by_their_bytes() -> None:
    def count(text: str, state: State) -> int:
        counter = ThoughtCount("<think>", "</think>", state, lambda token: bytes([token]))
        for byte in text.encode():
            counter.add([byte])
        return counter.total()

    assert count("<think>ä</think>yes", "unknown") == len("<think>ä</think>".encode())
    assert count("ab</think>yes</think>", "open") == len("ab</think>")
    assert count("no thoughts", "unknown") == count("x", "closed") == 0
    assert count("never ends", "open") == len("never ends")


THINKS = "<think>\nHm.\n</think>\n\nYes."


def test_a_message_has_its_reasoning_apart() -> None:
    async def story(chats: Chats) -> None:
        out = await chats.ai.chat.completions.create(model="fake", messages=USER, max_tokens=99)
        message = out.choices[0].message
        assert (message.content, message.reasoning_content) == ("Yes.", "Hm.")
        details = out.usage.completion_tokens_details
        assert details.reasoning_tokens == len("<think>\nHm.\n</think>")
        stream = await chats.ai.chat.completions.create(
            model="fake", messages=USER, max_tokens=99, stream=True
        )
        thoughts, answer = [], []
        async for chunk in stream:
            delta = chunk.choices[0].delta
            thoughts.append(getattr(delta, "reasoning_content", None) or "")
            answer.append(delta.content or "")
        assert ("".join(thoughts), "".join(answer)) == ("Hm.", "Yes.")
        assert len([part for part in thoughts if part]) == 3

    run(story, THINKS, reasoning_parser="qwen3")


def test_reasoning_may_stay_in_the_content_or_come_in_one() -> None:
    async def story(chats: Chats) -> None:
        body: dict[str, Any] = {"messages": USER, "max_tokens": 99}
        path = "/v1/chat/completions"
        together = (await chats.post(path, body | {"separate_reasoning": False})).json()
        assert together["choices"][0]["message"] == {"role": "assistant", "content": THINKS}
        fields = {"stream": True, "stream_reasoning": False}
        text = (await chats.post(path, body | fields)).text
        chunks = [json.loads(part[6:]) for part in text.split("\n\n") if part.startswith("data: {")]
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        told = [d["reasoning_content"] for d in deltas if "reasoning_content" in d]
        assert told == ["Hm."]

    run(story, THINKS, reasoning_parser="qwen3")


def test_the_template_decides_by_its_arguments() -> None:
    async def story(chats: Chats) -> None:
        for thinking, expected in ((True, ("Hm", "Yes")), (False, (None, "Hm</think>Yes"))):
            body = {
                "messages": USER,
                "max_tokens": 99,
                "chat_template_kwargs": {"thinking": thinking},
                "reasoning_effort": "low",
            }
            answer = (await chats.post("/v1/chat/completions", body)).json()
            message = answer["choices"][0]["message"]
            assert (message.get("reasoning_content"), message["content"]) == expected
            assert "[low]" in chats.prompt

    run(story, "Hm</think>Yes", reasoning_parser="qwen3")


def test_a_grammar_begins_where_the_thinking_ends() -> None:
    async def story(chats: Chats) -> None:
        asked: Any = dict(model="fake", messages=USER, tools=[TOOL, NOW], max_tokens=99)
        await chats.ai.chat.completions.create(**asked, tool_choice="required")
        submit = chats.engine.submits[-1]
        assert submit.grammar is not None
        assert bytes(submit.grammar_after) == b"</think>"
        assert chats.prompt.endswith("[assistant]<think>\n")
        off = {"chat_template_kwargs": {"thinking": False}}
        await chats.ai.chat.completions.create(**asked, tool_choice="required", extra_body=off)
        assert not chats.engine.submits[-1].grammar_after
        await chats.ai.chat.completions.create(**asked)
        assert chats.prompt.endswith("[assistant]")
        body = {"messages": USER, "max_tokens": 9, "response_format": {"type": "json_object"}}
        assert (await chats.post("/v1/chat/completions", body)).status_code == 200
        assert bytes(chats.engine.submits[-1].grammar_after) == b"</think>"

    run(story, 'Hm</think>{"a": 1}', reasoning_parser="qwen3")


def test_a_grammar_of_gpt_oss_begins_with_its_final_message() -> None:
    async def story(chats: Chats) -> None:
        body = {"messages": USER, "max_tokens": 9, "response_format": {"type": "json_object"}}
        assert (await chats.post("/v1/chat/completions", body)).status_code == 200
        assert bytes(chats.engine.submits[-1].grammar_after) == b"<|channel|>final<|message|>"

    run(story, HARMONY, reasoning_parser="gpt-oss")


def test_thoughts_come_before_calls() -> None:
    async def story(chats: Chats) -> None:
        out = await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[NOW], max_tokens=999
        )
        message = out.choices[0].message
        assert message.reasoning_content == "I need <tool_call> now"
        assert [call.function.name for call in message.tool_calls] == ["now"]
        assert message.content is None

    text = '<think>I need <tool_call> now</think>\n\n<tool_call>\n{"name": "now"}\n</tool_call>'
    run(story, text, reasoning_parser="qwen3")


def test_gpt_oss_is_read_whole_by_either_option() -> None:
    markers = FORMATS["gpt-oss"].markers
    text = (
        "<|channel|>analysis<|message|>I call.<|end|><|start|>assistant<|channel|>commentary "
        "to=functions.now <|constrain|>json<|message|>{}"
    )

    async def story(chats: Chats) -> None:
        out = await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[NOW], max_tokens=999
        )
        message = out.choices[0].message
        assert (message.content, message.reasoning_content) == (None, "I call.")
        assert [call.function.name for call in message.tool_calls] == ["now"]

    run(story, text, special=markers, tool_call_parser="gpt-oss")


def test_streams_without_thoughts_are_plain_once_that_is_known() -> None:
    reader = ChatReader(PartReader(lambda source: FORMATS["qwen3"].read(source, "unknown")))
    assert not reader.is_plain(Piece("a", []))
    assert [event for event in reader.read(Piece("a", [])) if type(event) is Reasoning] == []
    assert reader.is_plain(Piece("b", []))

"""Tools in chats, through the app and the real openai client."""

import json
from typing import Any, get_args

import openai
import pytest
from sgjax_server import reasoning, tools

from sgjax.config import ReasoningParser, ToolCallParser
from sgjax.text import ChatTemplate
from sgjax.text.named_templates import NAMED
from tests.server.chats import TEMPLATE, Chats, run

USER: Any = [{"role": "user", "content": "Hi"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Says what it is like outside.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
NOW: Any = {"type": "function", "function": {"name": "now"}}
CALLS = (
    'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n'
    '</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)
MARKERS = ("<tool_call>", "</tool_call>")


@pytest.mark.parametrize("special", [(), MARKERS])
def test_calls_are_told_as_clients_read_them(special: tuple[str, ...]) -> None:
    async def story(chats: Chats) -> None:
        out = await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[TOOL, NOW], max_tokens=999
        )
        choice = out.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Let me see."
        calls = choice.message.tool_calls
        assert [call.function.name for call in calls] == ["get_weather", "now"]
        assert json.loads(calls[0].function.arguments) == {"city": "Paris"}
        assert calls[1].function.arguments == "{}"
        assert all(call.type == "function" and call.id.startswith("call_") for call in calls)
        assert calls[0].id != calls[1].id
        assert chats.prompt.startswith("<s>[tools]get_weather now")
        assert chats.engine.submits[-1].grammar is None

    run(story, CALLS, special=special)


def test_a_stream_of_calls_has_index_id_and_name_once() -> None:
    async def story(chats: Chats) -> None:
        stream = await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[TOOL, NOW], max_tokens=999, stream=True
        )
        text, reasons, calls = "", [], {}
        async for chunk in stream:
            choice = chunk.choices[0]
            text += choice.delta.content or ""
            reasons.append(choice.finish_reason)
            for call in choice.delta.tool_calls or []:
                if call.index not in calls:
                    assert call.id and call.type == "function" and call.function.name
                    calls[call.index] = [call.function.name, call.function.arguments]
                else:
                    assert call.id is None and call.type is None and call.function.name is None
                    calls[call.index][1] += call.function.arguments
        assert text == "Let me see."
        assert calls == {0: ["get_weather", '{"city": "Paris"}'], 1: ["now", "{}"]}
        assert set(reasons[:-1]) == {None} and reasons[-1] == "tool_calls"

    run(story, CALLS, special=MARKERS)


def test_arguments_come_as_they_grow() -> None:
    async def story(chats: Chats) -> int:
        stream = await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[TOOL], stream=True, max_tokens=999
        )
        return len([c async for c in stream if c.choices[0].delta.tool_calls])

    assert run(story, CALLS) > 10


def test_a_call_that_was_cut_off_says_so() -> None:
    async def story(chats: Chats) -> None:
        out = await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[TOOL], max_tokens=60
        )
        assert out.choices[0].finish_reason == "length"

    run(story, CALLS)


def test_without_parallel_calls_there_is_one() -> None:
    async def story(chats: Chats) -> None:
        asked = dict(model="fake", messages=USER, tools=[TOOL, NOW], max_tokens=999)
        out = await chats.ai.chat.completions.create(**asked, parallel_tool_calls=False)
        assert [c.function.name for c in out.choices[0].message.tool_calls] == ["get_weather"]

    run(story, CALLS)


def test_with_none_nothing_is_called_or_shown() -> None:
    async def story(chats: Chats) -> None:
        out = await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[TOOL], tool_choice="none", max_tokens=999
        )
        assert out.choices[0].message.content == CALLS
        assert out.choices[0].message.tool_calls is None
        assert "[tools]" not in chats.prompt

    run(story, CALLS)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_calls_that_must_be_are_bound_by_a_grammar(choice: Any) -> None:
    async def story(chats: Chats) -> None:
        await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[TOOL, NOW], tool_choice=choice, max_tokens=9
        )
        grammar = chats.engine.submits[-1].grammar
        assert grammar is not None and "get_weather" in grammar
        assert ('"now' in grammar or "now" in grammar) == (choice == "required")
        assert not chats.engine.submits[-1].grammar_after

    run(story, CALLS, special=MARKERS)


def test_strict_tools_are_bound_too() -> None:
    async def story(chats: Chats) -> None:
        strict = {**TOOL, "function": {**TOOL["function"], "strict": True}}
        await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[strict], max_tokens=9
        )
        assert chats.engine.submits[-1].grammar is not None

    run(story, CALLS)


def test_earlier_calls_and_their_results_are_shown() -> None:
    async def story(chats: Chats) -> None:
        call = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
        messages = [
            *USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
        ]
        await chats.ai.chat.completions.create(
            model="fake", messages=messages, tools=[TOOL], max_tokens=1
        )
        assert chats.prompt.endswith(
            "[user]Hi[assistant]<call get_weather Paris>[tool]18 degrees[assistant]"
        )

    run(story, CALLS)


def test_logprobs_are_of_all_tokens() -> None:
    async def story(chats: Chats) -> None:
        asked = dict(model="fake", messages=USER, tools=[TOOL], max_tokens=999, logprobs=True)
        out = await chats.ai.chat.completions.create(**asked)
        whole = b"".join(bytes(e.bytes) for e in out.choices[0].logprobs.content)
        assert whole == f"{CALLS}</s>".encode()
        stream = await chats.ai.chat.completions.create(**asked, stream=True)
        told = [c.choices[0].logprobs async for c in stream]
        parts = [bytes(e.bytes) for logprobs in told if logprobs for e in logprobs.content]
        assert b"".join(parts) == whole

    run(story, CALLS)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("mistral", '[TOOL_CALLS] [{"name": "now", "arguments": {}}]'),
        ("llama3", '{"name": "now", "parameters": {}}'),
        ("pythonic", "[now()]"),
    ],
)
def test_the_parser_is_chosen_by_its_option(parser: str, text: str) -> None:
    async def story(chats: Chats) -> str:
        out = await chats.ai.chat.completions.create(
            model="fake", messages=USER, tools=[NOW], max_tokens=999
        )
        (call,) = out.choices[0].message.tool_calls
        assert (call.function.name, call.function.arguments) == ("now", "{}")
        return call.id

    call_id = run(story, text, tool_call_parser=parser)
    assert (len(call_id) == 9) == (parser == "mistral")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function"}]}, "tools[0]"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
    ({"tools": [TOOL], "tool_choice": "must"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
        "tool_choice",
    ),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
    ({"tools": "all"}, "tools"),
    ({"tools": [TOOL] * 129}, "tools"),
    ({"tools": [TOOL], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
]


def _with(parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


BAD += [
    ({"tools": [{"function": {"name": "f", "strict": 1}}]}, "tools[0].function.strict"),
    (_with([]), "tools[0].function.parameters"),
    (_with({"type": "string"}), "tools[0].function.parameters"),
    (_with({"properties": {"a": 1}}), "tools[0].function.parameters.properties"),
    (_with({"required": "a"}), "tools[0].function.parameters.required"),
    (_with({"properties": {"a": {"type": "wordy"}}}) | {"tool_choice": "required"}, "tools"),
]


@pytest.mark.parametrize(("fields", "param"), BAD)
def test_what_is_wrong_with_tools_is_said(fields: dict[str, Any], param: str) -> None:
    async def story(chats: Chats) -> None:
        answer = await chats.post("/v1/chat/completions", {"messages": USER, **fields})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param
        good = await chats.post("/v1/chat/completions", {"messages": USER, "max_tokens": 1})
        assert good.status_code == 200

    run(story, "x")


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_schema_nested_too_deeply_hurts_nobody(choice: str) -> None:
    depth = 490
    schema = '{"properties":{"a":' * depth + "{}" + "}}" * depth
    tool = f'{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}'
    fields = {"messages": USER, "max_tokens": 1, "tool_choice": choice}
    content = f'{json.dumps(fields)[:-1]}, "tools": [{tool}]}}'

    async def story(chats: Chats) -> None:
        answer = await chats.http.post(
            "/v1/chat/completions",
            content=content,
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == (200 if choice == "auto" else 400), answer.text
        good = await chats.post("/v1/chat/completions", {"messages": USER, "max_tokens": 1})
        assert good.status_code == 200

    run(story, "x")


def test_tools_without_a_known_format_name_the_option() -> None:
    async def story(chats: Chats) -> None:
        with pytest.raises(openai.BadRequestError, match="--tool-call-parser") as caught:
            await chats.ai.chat.completions.create(model="fake", messages=USER, tools=[TOOL])
        assert caught.value.param == "tools"

    run(story, CALLS, template=TEMPLATE.replace("<tool_call>", ""))


def test_a_template_that_hides_tools_is_told_of() -> None:
    async def story(chats: Chats) -> None:
        asked: Any = dict(model="fake", messages=USER, tools=[TOOL], max_tokens=1)
        with pytest.raises(openai.BadRequestError, match="--chat-template"):
            await chats.ai.chat.completions.create(**asked)
        await chats.ai.chat.completions.create(**asked, tool_choice="required")
        assert chats.engine.submits[-1].grammar is not None

    run(story, CALLS, template="{{ messages[0].content }}", tool_call_parser="hermes")


def test_an_answer_by_a_schema_may_stand_in_for_calls() -> None:
    async def story(chats: Chats) -> None:
        body = {"messages": USER, "tools": [TOOL], "max_tokens": 5}
        schema = {"type": "object", "properties": {"answer": {"type": "integer"}}}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        answer = await chats.post("/v1/chat/completions", body | {"response_format": form})
        assert answer.status_code == 200, answer.text
        grammar = chats.engine.submits[-1].grammar
        assert grammar is not None and "answer" in grammar and "get_weather" in grammar

    run(story, CALLS)


def test_a_text_is_parsed_without_a_model() -> None:
    async def story(chats: Chats) -> None:
        body = {"text": CALLS, "tools": [NOW], "tool_call_parser": "qwen25"}
        answer = await chats.post("/parse_function_call", body)
        assert answer.json() == {
            "normal_text": "Let me see.",
            "calls": [
                {"tool_index": -1, "name": "get_weather", "parameters": '{"city": "Paris"}'},
                {"tool_index": 0, "name": "now", "parameters": "{}"},
            ],
        }
        body = {"text": "x", "tools": [], "tool_call_parser": "other"}
        bad = await chats.post("/parse_function_call", body)
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "tool_call_parser")

    run(story)


def test_a_text_is_split_into_thoughts_and_answer() -> None:
    async def story(chats: Chats) -> None:
        body = {"text": "Hm.</think>\n\nYes.", "reasoning_parser": "deepseek-r1"}
        answer = await chats.post("/separate_reasoning", body)
        assert answer.json() == {"reasoning_text": "Hm.", "text": "Yes."}
        bad = await chats.post("/separate_reasoning", {"text": "x"})
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "reasoning_parser")

    run(story)


def test_every_format_has_its_option() -> None:
    assert set(get_args(ToolCallParser)) == set(tools.FORMATS)
    assert set(get_args(ReasoningParser)) == set(reasoning.FORMATS)


def test_a_named_template_brings_its_stops() -> None:
    async def story(chats: Chats) -> None:
        out = await chats.ai.chat.completions.create(
            model="fake", messages=USER, stop="zz", max_tokens=99
        )
        assert out.choices[0].message.content == "Hello"
        params = chats.engine.submits[-1].params
        assert params.stop == ("zz", "<|endoftext|>")
        assert len(params.stop_token_ids) == 1

    template = ChatTemplate({"default": NAMED["chatml"].source}, {}, stops=NAMED["chatml"].stops)
    run(story, "Hello<|endoftext|> more", special=("<|im_end|>",), template=template)

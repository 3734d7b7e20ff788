"""The openai client, as its users call it: chats, parsed and with tools. (Its files, batches and
responses are in tests/server.)"""

import asyncio
import json
import re
from typing import Any

import openai
import pydantic
import pytest

from tests.clients.weather import BY_NAME, KEY, MESSAGES, TOOL, Weather

HOW: Any = {"model": "demo", "messages": MESSAGES}
GREEDY: Any = HOW | {"temperature": 0, "max_tokens": 16}


class City(pydantic.BaseModel):
    """Nested, with what schemas of pydantic have: references, lists, unions."""

    weather: list[Weather] = pydantic.Field(min_length=1, max_length=2)
    twin: Weather | None
    size: int | None = pydantic.Field(ge=0, le=9)


def test_a_chat_says_the_same_whole_streamed_and_asynchronously(
    ai: openai.OpenAI, base_url: str
) -> None:
    whole = ai.chat.completions.create(**GREEDY)
    chunks = [*ai.chat.completions.create(**GREEDY, stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == (
        whole.choices[0].message.content
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len({chunk.id for chunk in chunks}) == 1

    async def story() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY) as client:
            answer = await client.chat.completions.create(**GREEDY)
            stream = await client.chat.completions.create(**GREEDY, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return answer.choices[0].message.content, "".join(parts)

    assert set(asyncio.run(story())) == {whole.choices[0].message.content}


def test_many_asynchronous_chats_at_once_are_each_answered(base_url: str) -> None:
    async def story() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY) as client:
            asked = [
                client.chat.completions.create(**HOW, extra_body={"regex": f"{i}-[a-z]{{1,3}}"})
                for i in range(16)
            ]
            return await asyncio.gather(*asked)

    for i, answer in enumerate(asyncio.run(story())):
        assert re.fullmatch(f"{i}-[a-z]{{1,3}}", answer.choices[0].message.content or "")


def test_the_usage_of_a_stream_comes_last(ai: openai.OpenAI) -> None:
    whole = ai.chat.completions.create(**GREEDY)
    options: Any = {"include_usage": True}
    *_, last = ai.chat.completions.create(**GREEDY, stream=True, stream_options=options)
    assert last.choices == [] and last.usage is not None and whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens


@pytest.mark.parametrize("model", [Weather, City])
def test_an_answer_is_parsed_into_a_model(ai: openai.OpenAI, model: type[Any]) -> None:
    for seed in range(4):
        out = ai.chat.completions.parse(**HOW, response_format=model, temperature=1, seed=seed)
        assert out.choices[0].finish_reason == "stop"
        assert isinstance(out.choices[0].message.parsed, model)


def test_an_answer_is_parsed_by_the_beta_names_and_asynchronously(
    ai: openai.OpenAI, base_url: str
) -> None:
    old = ai.beta.chat.completions.parse(**HOW, response_format=Weather)
    assert isinstance(old.choices[0].message.parsed, Weather)

    async def story() -> Any:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY) as client:
            return await client.chat.completions.parse(**HOW, response_format=Weather)

    assert isinstance(asyncio.run(story()).choices[0].message.parsed, Weather)


def test_an_answer_that_was_cut_is_told_of_by_the_parser(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        ai.chat.completions.parse(**HOW, response_format=Weather, max_tokens=3)


def test_events_of_a_stream_grow_into_its_parsed_end(ai: openai.OpenAI) -> None:
    with ai.chat.completions.stream(**HOW, response_format=Weather) as stream:
        events = [*stream]
        final = stream.get_final_completion()
    deltas = [event for event in events if event.type == "content.delta"]
    (done,) = [event for event in events if event.type == "content.done"]
    assert "".join(event.delta for event in deltas) == done.content
    assert done.parsed == final.choices[0].message.parsed
    assert isinstance(done.parsed, Weather)


def test_logprobs_come_as_events_too(ai: openai.OpenAI) -> None:
    with ai.chat.completions.stream(**GREEDY, logprobs=True, top_logprobs=2) as stream:
        found = [event for event in stream if event.type == "logprobs.content.delta"]
        final = stream.get_final_completion()
    assert final.choices[0].logprobs is not None and final.usage is None
    content = final.choices[0].logprobs.content or []
    assert found and found[-1].snapshot == content
    whole = ai.chat.completions.create(**GREEDY, logprobs=True, top_logprobs=2)
    assert whole.choices[0].logprobs is not None and whole.choices[0].logprobs.content is not None
    expected = whole.choices[0].logprobs.content
    assert [token.token for token in content] == [token.token for token in expected]
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in content)


@pytest.mark.parametrize("choice", ["required", BY_NAME])
def test_a_tool_that_must_be_called_is_and_the_chat_goes_on(ai: openai.OpenAI, choice: Any) -> None:
    tools: Any = {"tools": [TOOL]}
    out = ai.chat.completions.create(**HOW, **tools, tool_choice=choice, parallel_tool_calls=False)
    assert out.choices[0].finish_reason == "tool_calls"
    message = out.choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function" and call.function.name == "get_weather" and call.id
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in ("Oslo", "Rome", "Lima") and 1 <= arguments["days"] <= 9
    told: Any = {"role": "tool", "tool_call_id": call.id, "content": "It is sunny."}
    more = ai.chat.completions.create(
        model="demo", messages=[*MESSAGES, message, told], **tools, max_tokens=8
    )
    assert more.choices[0].message.role == "assistant"
    assert more.usage is not None and out.usage is not None
    assert more.usage.prompt_tokens > out.usage.prompt_tokens + 10, "the call and its result"


def test_deltas_of_arguments_grow_into_the_call(ai: openai.OpenAI) -> None:
    chunks = ai.chat.completions.create(**HOW, tools=[TOOL], tool_choice=BY_NAME, stream=True)
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    first, *rest = deltas
    assert first.id and first.function is not None and first.function.name == "get_weather"
    assert all(call.index == 0 and call.id is None for call in rest)
    parts = [call.function.arguments or "" for call in deltas if call.function is not None]
    assert len(parts) > 2
    assert json.loads("".join(parts)).keys() == {"city", "days"}


def test_events_of_a_stream_parse_the_arguments_of_a_call(ai: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Weather, name="tell")
    with ai.chat.completions.stream(**HOW, tools=[tool], tool_choice="required") as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert done and all(isinstance(event.parsed_arguments, Weather) for event in done)
    calls = final.choices[0].message.tool_calls or []
    assert [event.parsed_arguments for event in done] == [
        call.function.parsed_arguments for call in calls
    ]


def test_parsed_tools_are_parsed(ai: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(City)
    out = ai.chat.completions.parse(**HOW, tools=[tool], tool_choice="required")
    for call in out.choices[0].message.tool_calls or pytest.fail("no calls"):
        assert isinstance(call.function.parsed_arguments, City)


def test_a_tool_that_may_be_called_leaves_the_model_free(ai: openai.OpenAI) -> None:
    out = ai.chat.completions.create(**GREEDY, tools=[TOOL])
    assert out.choices[0].message.content or out.choices[0].message.tool_calls
    out = ai.chat.completions.create(**GREEDY, tools=[TOOL], tool_choice="none")
    assert out.choices[0].message.content and not out.choices[0].message.tool_calls

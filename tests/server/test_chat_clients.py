"""The clients of OpenAI and Anthropic, as their users call them, against the built-in model."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import openai
import pydantic
import pytest
from sgjax_server.app import create_app

from sgjax.config import ServeConfig
from sgjax.engine.local_client import LocalClient
from sgjax.front.files import chat_template_of, tokenizer_of
from tests.server.live import serving

OPTIONS: Any = {
    "context_length": 512,
    "max_total_tokens": 4096,
    "page_size": 16,
    "max_running_requests": 4,
    "chunked_prefill_size": 128,
    "tool_call_parser": "hermes",
}


class Weather(pydantic.BaseModel):
    """What the model is asked to fill in."""

    city: Literal["Oslo", "Rome", "Lima"]
    degrees: int = pydantic.Field(ge=-40, le=50)
    is_wet: bool


SCHEMA: Any = Weather.model_json_schema() | {"additionalProperties": False}
FUNCTION: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": SCHEMA,
    "strict": True,
}
TOOL: Any = {"name": "get_weather", "input_schema": SCHEMA}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    config = ServeConfig(model_path="demo", **OPTIONS)
    client = LocalClient.start(config)
    app = create_app(client, config, tokenizer_of(config), chat_template_of(config))
    with serving(app) as found:
        yield found
        assert app.state.service.generator.num_live == 0
        asyncio.run_coroutine_threadsafe(client.close(), app.state.loop).result(30)


@pytest.fixture(scope="module")
def ai(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
        yield client


HOW: Any = {"model": "demo", "max_output_tokens": 16, "temperature": 0}
QUESTION = "What is the capital of France?"


def test_responses_create_and_stream_say_the_same(ai: openai.OpenAI) -> None:
    whole = ai.responses.create(**HOW, input=QUESTION)
    assert whole.output_text
    with ai.responses.stream(**HOW, input=QUESTION) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
    assert text == whole.output_text
    chat = ai.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=16,
    )
    assert chat.choices[0].message.content == whole.output_text


def test_responses_by_the_async_client(url: str) -> None:
    async def story() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:
            asked = [client.responses.create(**HOW, input=QUESTION) for _ in range(6)]
            return [each.output_text for each in await asyncio.gather(*asked)]

    assert len(set(asyncio.run(story()))) == 1


def test_responses_parse_into_a_model(ai: openai.OpenAI) -> None:
    for _ in range(4):
        out = ai.responses.parse(
            model="demo", input="How is the weather?", text_format=Weather, temperature=1
        )
        assert out.status == "completed" and isinstance(out.output_parsed, Weather)
    with ai.responses.stream(model="demo", input="The weather?", text_format=Weather) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Weather)


def test_responses_with_tools_go_on_with_their_outputs(ai: openai.OpenAI) -> None:
    asked: Any = {"type": "function", "name": "get_weather"}
    for choice in ("required", asked):
        out = ai.responses.create(
            model="demo", input="Weather?", tools=[FUNCTION], tool_choice=choice
        )
        (call,) = [item for item in out.output if item.type == "function_call"][:1]
        Weather.model_validate_json(call.arguments)
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    more = ai.responses.create(**HOW, input=[output], previous_response_id=out.id)
    assert more.status in ("completed", "incomplete")
    ours = ai.responses.create(
        **HOW, input=[{"role": "user", "content": "Weather?"}, call.to_dict(), output]
    )
    assert ours.output_text == more.output_text


def test_responses_stream_the_arguments_of_a_call(ai: openai.OpenAI) -> None:
    with ai.responses.stream(
        model="demo", input="Weather?", tools=[FUNCTION], tool_choice="required"
    ) as stream:
        deltas: dict[str, str] = {}
        for event in stream:
            if event.type == "response.function_call_arguments.delta":
                deltas[event.item_id] = deltas.get(event.item_id, "") + event.delta
        final = stream.get_final_response()
    calls = [item for item in final.output if item.type == "function_call"]
    assert calls and {call.id: call.arguments for call in calls} == deltas


def test_responses_are_remembered(ai: openai.OpenAI) -> None:
    first = ai.responses.create(**HOW, input="My name is Ada.", instructions="Be kind.")
    second = ai.responses.create(
        **HOW, input="What is my name?", previous_response_id=first.id, instructions="Be kind."
    )
    chat: Any = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "What is my name?"},
    ]
    by_hand = ai.chat.completions.create(model="demo", messages=chat, temperature=0, max_tokens=16)
    assert by_hand.choices[0].message.content == second.output_text
    assert by_hand.usage is not None and second.usage is not None
    assert by_hand.usage.prompt_tokens == second.usage.input_tokens
    ai.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(second.id)


def test_responses_in_the_background(ai: openai.OpenAI) -> None:
    out = ai.responses.create(**HOW, input=QUESTION, background=True)
    deadline = time.monotonic() + 30
    while out.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
        out = ai.responses.retrieve(out.id)
    assert out.output_text == ai.responses.create(**HOW, input=QUESTION).output_text
    endless: Any = {"model": "demo", "input": QUESTION, "extra_body": {"temperature": 100}}
    running = ai.responses.create(**endless, background=True)
    assert ai.responses.cancel(running.id).status in ("cancelled", "completed", "incomplete")


ASK: Any = {"model": "demo", "max_tokens": 16, "messages": [{"role": "user", "content": QUESTION}]}
GREEDY: Any = {"extra_body": {"temperature": 0}}


def test_messages_create_and_stream_say_the_same(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(**ASK, **GREEDY)
    assert whole.content[0].type == "text" and whole.content[0].text
    with claude.messages.stream(**ASK, **GREEDY) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
        assert stream.get_final_message().usage.output_tokens == whole.usage.output_tokens


def test_messages_by_the_async_client(url: str) -> None:
    async def story() -> list[Any]:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="any") as client:
            asked = [client.messages.create(**ASK, **GREEDY) for _ in range(6)]
            return [each.content[0].to_dict() for each in await asyncio.gather(*asked)]

    found = asyncio.run(story())
    assert all(each == found[0] for each in found)


def test_messages_with_tools_go_on_with_their_results(claude: anthropic.Anthropic) -> None:
    ask = ASK | {"max_tokens": 200, "tools": [TOOL | {"strict": True}]}
    forced: Any = {"type": "tool", "name": "get_weather"}
    out = claude.messages.create(**ask, tool_choice=forced)
    assert out.stop_reason == "tool_use"
    (use,) = [block for block in out.content if block.type == "tool_use"]
    Weather.model_validate(use.input)
    with claude.messages.stream(**ask, tool_choice=forced) as stream:
        final = stream.get_final_message()
    (streamed,) = [block for block in final.content if block.type == "tool_use"]
    Weather.model_validate(streamed.input)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "Sunny."}
    messages = [
        *ASK["messages"],
        {"role": "assistant", "content": out.content},
        {"role": "user", "content": [result]},
    ]
    more = claude.messages.create(**ask | {"messages": messages}, tool_choice={"type": "none"})
    assert more.stop_reason in ("end_turn", "max_tokens")


def test_messages_in_a_format(claude: anthropic.Anthropic) -> None:
    config: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    out = claude.messages.create(**ASK | {"max_tokens": 100}, output_config=config)
    assert out.content[0].type == "text"
    Weather.model_validate(json.loads(out.content[0].text))


def test_messages_are_counted_as_they_are_used(claude: anthropic.Anthropic) -> None:
    prompt: Any = {"model": "demo", "messages": ASK["messages"], "system": "Be kind."}
    counted = claude.messages.count_tokens(**prompt)
    out = claude.messages.create(**prompt, max_tokens=1)
    assert counted.input_tokens == out.usage.input_tokens


def test_messages_go_on_with_what_the_assistant_began(claude: anthropic.Anthropic) -> None:
    out = claude.messages.create(**ASK, **GREEDY)
    assert out.content[0].type == "text"
    words = out.content[0].text.split(" ")
    begun = {"role": "assistant", "content": words[0]}
    rest = claude.messages.create(**ASK | {"messages": [*ASK["messages"], begun]}, **GREEDY)
    assert rest.content[0].type == "text"
    assert (words[0] + rest.content[0].text)[: len(out.content[0].text)] == out.content[0].text


def test_the_clients_read_errors(ai: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ai.responses.create(model="gpt-5", input="Hi")
    assert caught.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**ASK | {"model": "claude"})
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        claude.messages.create(**ASK | {"max_tokens": 4000})

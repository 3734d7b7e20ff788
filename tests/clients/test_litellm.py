"""litellm, as its users call servers of OpenAI's form."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import litellm
import openai
import pytest

from tests.clients.weather import BY_NAME, KEY, MESSAGES, TOOL, Weather

LITELLM: Any = litellm
"""Without its types, which are unions of whatever it may return."""

# What it warns of is its own use of pydantic.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    """It reports to nobody, and closes its connections, which it would keep."""
    litellm.telemetry = False
    litellm.disable_aiohttp_transport = True
    yield
    for client in litellm.in_memory_llm_clients_cache.cache_dict.values():
        if isinstance(client, openai.OpenAI):
            client.close()
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(scope="module")
def how(base_url: str) -> dict[str, Any]:
    server = {"api_base": base_url, "api_key": KEY, "max_retries": 0}
    return {"model": "openai/demo", "messages": MESSAGES, "temperature": 0, **server}


def test_a_completion_says_the_same_whole_streamed_and_asynchronously(how: Any) -> None:
    whole = LITELLM.completion(**how, max_tokens=16)
    text = whole.choices[0].message.content
    assert text and whole.usage.total_tokens > whole.usage.completion_tokens > 0
    chunks = [*LITELLM.completion(**how, max_tokens=16, stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    rebuilt = LITELLM.stream_chunk_builder(chunks, messages=MESSAGES)
    assert rebuilt.choices[0].message.content == text

    async def story() -> tuple[str, str]:
        answer = await LITELLM.acompletion(**how, max_tokens=16)
        stream = await LITELLM.acompletion(**how, max_tokens=16, stream=True)
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        await litellm.close_litellm_async_clients()
        return answer.choices[0].message.content, "".join(parts)

    assert asyncio.run(story()) == (text, text)


def test_the_usage_of_a_stream_is_told(how: Any) -> None:
    options = {"include_usage": True}
    *_, last = LITELLM.completion(**how, max_tokens=4, stream=True, stream_options=options)
    assert last.usage.completion_tokens == 4


@pytest.mark.parametrize("choice", ["required", BY_NAME])
def test_tools_are_called_and_the_chat_goes_on(how: Any, choice: Any) -> None:
    tools: Any = {"tools": [TOOL], "parallel_tool_calls": False}
    message = LITELLM.completion(**how, **tools, tool_choice=choice).choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city", "days"}
    told = {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}
    more = LITELLM.completion(
        **how | {"messages": [*MESSAGES, message, told]}, **tools, tool_choice="none", max_tokens=8
    )
    assert more.choices[0].message.content


def test_streamed_calls_are_rebuilt(how: Any) -> None:
    chunks = [*LITELLM.completion(**how, tools=[TOOL], tool_choice=BY_NAME, stream=True)]
    rebuilt = LITELLM.stream_chunk_builder(chunks, messages=MESSAGES)
    (call,) = rebuilt.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and call.id
    assert json.loads(call.function.arguments).keys() == {"city", "days"}


def test_an_answer_has_the_format_of_a_model_or_a_schema(how: Any) -> None:
    schema = {"name": "weather", "schema": Weather.model_json_schema(), "strict": True}
    for form in (Weather, {"type": "json_schema", "json_schema": schema}):
        answer = LITELLM.completion(**how, response_format=form)
        Weather.model_validate_json(answer.choices[0].message.content)


def test_fields_of_ours_pass_through(how: Any) -> None:
    answer = LITELLM.completion(**how, extra_body={"regex": "[xyz]{5}"})
    assert set(answer.choices[0].message.content) <= set("xyz")
    assert len(answer.choices[0].message.content) == 5
    several = LITELLM.completion(**how, n=2, logprobs=True, top_logprobs=2, max_tokens=3, seed=1)
    assert len(several.choices) == 2
    assert len(several.choices[1].logprobs.content) == 3


def test_texts_are_completed(how: Any) -> None:
    asked = {**how, "model": "text-completion-openai/demo", "prompt": "The capital of France is"}
    del asked["messages"]
    answer = LITELLM.text_completion(**asked, max_tokens=2)
    assert answer.choices[0].text and answer.usage.completion_tokens == 2


def test_errors_have_their_classes(how: Any) -> None:
    server = {name: how[name] for name in ("api_base", "api_key", "max_retries")}
    with pytest.raises(litellm.BadRequestError, match="no embeddings"):
        LITELLM.embedding(model="openai/demo", input=["a"], **server)
    with pytest.raises(litellm.BadRequestError, match="regex"):
        LITELLM.completion(**how, extra_body={"regex": "("})
    with pytest.raises(litellm.NotFoundError):
        LITELLM.completion(**how | {"model": "openai/other"})
    with pytest.raises(litellm.AuthenticationError):
        LITELLM.completion(**how | {"api_key": "other"})
    with pytest.raises(litellm.ContextWindowExceededError):
        LITELLM.completion(**how, max_tokens=4000)

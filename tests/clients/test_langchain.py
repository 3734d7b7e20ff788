"""langchain-openai's ChatOpenAI, as its users call it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.clients.weather import KEY, QUESTION, Weather


@tool(parse_docstring=True)
def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: One.
        b: Another.
    """
    return a + b


# What it warns of is its own use of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def how(base_url: str) -> Iterator[dict[str, Any]]:
    """Its own connections would never be closed."""
    with openai.DefaultHttpxClient() as http:
        server = {"base_url": base_url, "api_key": KEY, "http_client": http, "max_retries": 0}
        yield {"model": "demo", "temperature": 0, "stream_usage": True, **server}


@pytest.fixture(scope="module")
def chat(how: Any) -> ChatOpenAI:
    return ChatOpenAI(**how)


def test_a_question_is_answered_whole_streamed_and_asynchronously(
    chat: ChatOpenAI, how: Any
) -> None:
    whole = chat.invoke(QUESTION)
    assert whole.text and whole.usage_metadata is not None
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.response_metadata["model_name"] == "demo"
    streamed = add_up([*chat.stream(QUESTION)])
    assert streamed.text == whole.text
    assert streamed.usage_metadata is not None
    assert streamed.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]

    async def story() -> tuple[str, str]:
        async with openai.DefaultAsyncHttpxClient() as http:
            other = ChatOpenAI(**how, http_async_client=http)
            answer = await other.ainvoke(QUESTION)
            return answer.text, add_up([chunk async for chunk in other.astream(QUESTION)]).text

    assert asyncio.run(story()) == (whole.text, whole.text)


def add_up(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    first, *rest = chunks
    return sum(rest, first)


def test_a_batch_is_answered_in_order(chat: ChatOpenAI) -> None:
    questions = [QUESTION, "What is 2 plus 3?", "What is the capital of Italy?"]
    answers = chat.batch([*questions])
    assert [answer.text for answer in answers] == [chat.invoke(each).text for each in questions]


def test_a_chain_goes_from_prompt_to_text(chat: ChatOpenAI) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])
    chain = prompt | chat.bind(max_tokens=5, stop=["\n"]) | StrOutputParser()
    assert isinstance(chain.invoke({"question": QUESTION}), str)


@pytest.mark.parametrize("choice", ["any", "add"])
def test_bound_tools_are_called_and_answered(chat: ChatOpenAI, choice: str) -> None:
    bound = chat.bind_tools([add], tool_choice=choice, parallel_tool_calls=False)
    asked = HumanMessage("What is 1 plus 1?")
    called: Any = bound.invoke([asked], max_tokens=400)
    (call,) = called.tool_calls
    result = add.invoke(call)
    assert isinstance(result, ToolMessage)
    assert result.content == str(call["args"]["a"] + call["args"]["b"])
    more = chat.bind_tools([add]).invoke([asked, called, result], max_tokens=8)
    assert isinstance(more, AIMessage)


def test_streamed_calls_add_up(chat: ChatOpenAI) -> None:
    bound = chat.bind_tools([Weather], tool_choice="Weather")
    chunks: Any = [*bound.stream(QUESTION)]
    (call,) = add_up(chunks).tool_calls
    Weather.model_validate(call["args"])
    assert sum(len(chunk.tool_call_chunks) for chunk in chunks) > 2


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_an_output_is_structured(chat: ChatOpenAI, method: Any, strict: bool | None) -> None:
    bound = chat.with_structured_output(Weather, method=method, strict=strict)
    assert isinstance(bound.invoke(QUESTION), Weather)
    raw: Any = chat.with_structured_output(Weather, method=method, include_raw=True)
    found = raw.invoke(QUESTION)
    assert isinstance(found["parsed"], Weather) and found["parsing_error"] is None


def test_a_structured_output_of_a_schema_is_a_dictionary(chat: ChatOpenAI) -> None:
    bound = chat.with_structured_output(Weather.model_json_schema(), method="json_schema")
    Weather.model_validate(bound.invoke(QUESTION))
    *_, last = chat.with_structured_output(Weather, method="json_schema").stream(QUESTION)
    assert isinstance(last, Weather)


def test_logprobs_and_our_own_fields_pass_through(how: Any) -> None:
    chat = ChatOpenAI(**how, seed=3, logprobs=True, extra_body={"regex": "[xyz]{5}"})
    answer = chat.invoke(QUESTION)
    assert len(answer.text) == 5 and set(answer.text) <= set("xyz")
    assert answer.response_metadata["logprobs"]["content"]


def test_a_limit_is_kept_and_told(chat: ChatOpenAI) -> None:
    limited = chat.bind(max_tokens=3)
    whole: Any = limited.invoke(QUESTION)
    assert whole.usage_metadata["output_tokens"] == 3
    assert whole.response_metadata["finish_reason"] == "length"

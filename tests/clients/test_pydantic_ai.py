"""pydantic-ai's Agent, as its users call it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import openai
import pytest
from pydantic import Field
from pydantic_ai import Agent, ModelRetry, NativeOutput, ToolOutput, UsageLimits
from pydantic_ai.exceptions import ModelHTTPError, UsageLimitExceeded
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.weather import KEY, QUESTION, Weather

GREEDY: Any = {"temperature": 0, "max_tokens": 16}


def run(base_url: str, story: Callable[[OpenAIChatModel], Awaitable[None]]) -> None:
    """Connections belong to an event loop, so each story has its own, and closes them."""

    async def told() -> None:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as ai:
            await story(OpenAIChatModel("demo", provider=OpenAIProvider(openai_client=ai)))

    asyncio.run(told())


def test_an_agent_answers_whole_and_streamed(base_url: str) -> None:
    async def story(model: OpenAIChatModel) -> None:
        agent = Agent(model, instructions="Be brief.", model_settings=GREEDY)
        whole = await agent.run(QUESTION)
        assert whole.output and whole.usage.output_tokens > 0
        async with agent.run_stream(QUESTION) as stream:
            parts = [part async for part in stream.stream_text(delta=True, debounce_by=None)]
        assert "".join(parts) == whole.output
        more = await agent.run("And of Italy?", message_history=whole.all_messages())
        assert more.output and more.usage.input_tokens > whole.usage.input_tokens

    run(base_url, story)


@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput])
def test_an_output_is_a_model(base_url: str, kind: Any) -> None:
    async def story(model: OpenAIChatModel) -> None:
        agent = Agent(model, output_type=kind(Weather))
        for seed in range(3):
            settings: Any = {"seed": seed, "temperature": 1}
            out = await agent.run(QUESTION, model_settings=settings)
            assert isinstance(out.output, Weather)
        async with agent.run_stream(QUESTION) as stream:
            *_, last = [part async for part in stream.stream_output(debounce_by=None)]
        assert isinstance(last, Weather)

    run(base_url, story)


def test_tools_are_called_until_there_is_an_output(base_url: str) -> None:
    """Which of the two a tiny model calls is chance, so it has some runs to call both in one."""
    called: list[int] = []

    def look_out(window: Annotated[int, Field(ge=0, le=9)]) -> str:
        """Looks out of a window."""
        called.append(window)
        return "It rains."

    async def story(model: OpenAIChatModel) -> None:
        agent = Agent(model, output_type=Weather, tools=[look_out], retries=4)
        for seed in range(20):
            called.clear()
            settings: Any = {"seed": seed, "temperature": 9, "max_tokens": 200}
            limits = UsageLimits(request_limit=4)
            try:
                out = await agent.run(QUESTION, model_settings=settings, usage_limits=limits)
            except UsageLimitExceeded:
                continue
            assert isinstance(out.output, Weather)
            if called:
                return
        pytest.fail("no run had both a call and an output")

    run(base_url, story)


def test_tools_that_may_be_called_leave_the_model_free(base_url: str) -> None:
    def look_out(window: int) -> str:
        """Looks out of a window."""
        return f"It rains at {window}."

    async def story(model: OpenAIChatModel) -> None:
        agent = Agent(model, tools=[look_out], model_settings=GREEDY)
        assert (await agent.run(QUESTION)).output

    run(base_url, story)


def test_an_output_that_is_refused_is_asked_for_again(base_url: str) -> None:
    seen: list[Weather] = []

    async def story(model: OpenAIChatModel) -> None:
        agent = Agent(model, output_type=Weather, retries=3)

        @agent.output_validator
        def refuse(found: Weather) -> Weather:
            seen.append(found)
            if len(seen) < 3:
                raise ModelRetry("Look again.")
            return found

        assert (await agent.run(QUESTION)).output is seen[2]

    run(base_url, story)


def test_our_own_fields_pass_through(base_url: str) -> None:
    async def story(model: OpenAIChatModel) -> None:
        agent = Agent(model, model_settings={"extra_body": {"regex": "[xyz]{5}"}, "seed": 1})
        output = (await agent.run(QUESTION)).output
        assert len(output) == 5 and set(output) <= set("xyz")

    run(base_url, story)


def test_errors_are_told(base_url: str) -> None:
    async def story(model: OpenAIChatModel) -> None:
        agent = Agent(model, model_settings={"max_tokens": 4000})
        with pytest.raises(ModelHTTPError, match="context_length_exceeded") as caught:
            await agent.run(QUESTION)
        assert caught.value.status_code == 400

    run(base_url, story)

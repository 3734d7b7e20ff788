"""instructor, as its users call it: models from answers, in its modes."""

import asyncio
from typing import Any, Literal

import instructor
import openai
import pydantic
import pytest
from instructor.core.exceptions import InstructorRetryException

from tests.clients.weather import KEY, MESSAGES, Weather

HOW: Any = {"model": "demo", "messages": MESSAGES}
MODES = [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA]


class Anything(pydantic.BaseModel, extra="allow"):
    """What any JSON object is."""


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_is_a_model(ai: openai.OpenAI, mode: instructor.Mode) -> None:
    client = instructor.from_openai(ai, mode=mode)
    for seed in range(3):
        found, raw = client.chat.completions.create_with_completion(
            **HOW, response_model=Weather, max_retries=0, seed=seed, temperature=1
        )
        assert isinstance(found, Weather)
        assert raw.usage.completion_tokens > 0


def test_an_answer_in_json_is_an_object(ai: openai.OpenAI) -> None:
    client = instructor.from_openai(ai, mode=instructor.Mode.JSON)
    found = client.chat.completions.create(**HOW, response_model=Anything, temperature=0)
    assert isinstance(found, Anything)


def test_an_answer_in_markdown_is_bound_by_our_own_field(ai: openai.OpenAI) -> None:
    client = instructor.from_openai(ai, mode=instructor.Mode.MD_JSON)
    extra = {"json_schema": Weather.model_json_schema()}
    found = client.chat.completions.create(**HOW, response_model=Weather, extra_body=extra)
    assert isinstance(found, Weather)


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_comes_asynchronously(base_url: str, mode: instructor.Mode) -> None:
    async def story() -> Any:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY) as ai:
            client = instructor.from_openai(ai, mode=mode)
            return await client.chat.completions.create(**HOW, response_model=Weather)

    assert isinstance(asyncio.run(story()), Weather)


def test_an_answer_that_a_validator_refuses_is_asked_for_again(ai: openai.OpenAI) -> None:
    class Picky(pydantic.BaseModel, extra="forbid"):
        kind: Literal["a", "b"]

        @pydantic.field_validator("kind")
        @classmethod
        def refuse(cls, kind: str) -> str:
            asked.append(kind)
            if len(asked) < 3:
                raise ValueError("try again")
            return kind

    for mode in MODES:
        asked: list[str] = []
        client = instructor.from_openai(ai, mode=mode)
        found = client.chat.completions.create(**HOW, response_model=Picky, max_retries=3)
        assert len(asked) == 3 and found.kind == asked[-1]


def test_retries_end(ai: openai.OpenAI) -> None:
    class Never(pydantic.BaseModel, extra="forbid"):
        kind: Literal["a"]

        @pydantic.field_validator("kind")
        @classmethod
        def refuse(cls, kind: str) -> str:
            raise ValueError("no")

    client = instructor.from_openai(ai, mode=instructor.Mode.TOOLS)
    with pytest.raises(InstructorRetryException) as caught:
        client.chat.completions.create(**HOW, response_model=Never, max_retries=1)
    assert caught.value.n_attempts == 2


@pytest.mark.parametrize("mode", MODES)
def test_partial_models_grow(ai: openai.OpenAI, mode: instructor.Mode) -> None:
    client = instructor.from_openai(ai, mode=mode)
    *earlier, last = client.chat.completions.create_partial(**HOW, response_model=Weather)
    assert earlier and Weather.model_validate(last.model_dump())


def test_an_iterable_gives_one_model_after_another(ai: openai.OpenAI) -> None:
    """The schemas that it makes of iterables let a model write anything, so ours binds it."""
    tasks = {"type": "array", "minItems": 3, "maxItems": 3, "items": Weather.model_json_schema()}
    schema = {
        "type": "object",
        "properties": {"tasks": tasks},
        "required": ["tasks"],
        "additionalProperties": False,
    }
    client = instructor.from_openai(ai, mode=instructor.Mode.MD_JSON)
    found = client.chat.completions.create_iterable(
        **HOW, response_model=Weather, extra_body={"json_schema": schema}
    )
    assert [type(each) for each in found] == [Weather] * 3


@pytest.mark.parametrize("mode", MODES)
def test_a_list_of_models_has_its_length(ai: openai.OpenAI, mode: instructor.Mode) -> None:
    class Report(pydantic.BaseModel, extra="forbid"):
        cities: list[Weather] = pydantic.Field(min_length=2, max_length=3)

    client = instructor.from_openai(ai, mode=mode)
    found = client.chat.completions.create(**HOW, response_model=Report, max_retries=0)
    assert len(found.cities) in (2, 3)

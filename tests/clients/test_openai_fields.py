"""The openai client, as its users call it: choices, completions, extras, errors, and hanging up."""

import asyncio
import json
import re
import time
from typing import Any

import httpx
import openai
import pytest

from tests.clients.weather import KEY, MESSAGES, QUESTION, Weather

HOW: Any = {"model": "demo", "messages": MESSAGES}
GREEDY: Any = HOW | {"temperature": 0, "max_tokens": 16}
ENDLESS: Any = {
    "model": "demo",
    "prompt": QUESTION,
    "max_tokens": 1900,
    "extra_body": {"ignore_eos": True},
}


def test_choices_are_seeded_and_each_their_own(ai: openai.OpenAI) -> None:
    how: Any = HOW | {"n": 3, "seed": 7, "temperature": 20, "max_tokens": 8}
    texts = [[c.message.content for c in ai.chat.completions.create(**how).choices] for _ in "ab"]
    assert texts[0] == texts[1] and len(set(texts[0])) > 1
    streamed = ["", "", ""]
    for chunk in ai.chat.completions.create(**how, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts[0]


def test_a_stop_is_where_the_text_ends(ai: openai.OpenAI) -> None:
    text = ai.chat.completions.create(**GREEDY).choices[0].message.content or ""
    word = text.split()[1]
    out = ai.chat.completions.create(**GREEDY, stop=[word, "never there"]).choices[0]
    assert out.message.content == text[: text.index(word)] and out.finish_reason == "stop"


def test_completions_echo_and_score_the_prompt(ai: openai.OpenAI) -> None:
    how: Any = {"model": "demo", "prompt": "The capital of France is", "temperature": 0}
    written = ai.completions.create(**how, max_tokens=2, logprobs=3).choices[0]
    echoed = ai.completions.create(**how, max_tokens=2, logprobs=3, echo=True).choices[0]
    assert echoed.text == how["prompt"] + written.text
    assert echoed.logprobs is not None and written.logprobs is not None
    values, tokens = echoed.logprobs.token_logprobs or [], echoed.logprobs.tokens or []
    assert values[0] is None and all(value <= 0 for value in values[1:])
    assert values[-2:] == pytest.approx(written.logprobs.token_logprobs or [], abs=1e-3)
    assert "".join(tokens).endswith(written.text)
    streamed = ai.completions.create(**how, max_tokens=2, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == written.text


def test_completions_of_several_prompts_stand_in_order(ai: openai.OpenAI) -> None:
    prompts = ["One, two,", "The sun is"]
    out = ai.completions.create(model="demo", prompt=prompts, max_tokens=2, n=2, echo=True)
    assert [choice.index for choice in out.choices] == [0, 1, 2, 3]
    for choice in out.choices:
        assert choice.text.startswith(prompts[choice.index // 2])


def test_models_are_listed_and_found(ai: openai.OpenAI) -> None:
    (model,) = ai.models.list()
    assert model.id == "demo" and ai.models.retrieve("demo") == model
    with pytest.raises(openai.NotFoundError):
        ai.models.retrieve("gpt-5")


def test_errors_have_their_classes_codes_and_params(ai: openai.OpenAI, base_url: str) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        ai.chat.completions.create(**HOW, temperature=-1)
    assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as long:
        ai.chat.completions.create(**HOW, max_tokens=4000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError) as missing:
        ai.chat.completions.create(**HOW | {"model": "gpt-5"})
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="no embeddings") as embeddings:
        ai.embeddings.create(model="demo", input=["a", "b"])
    assert embeddings.value.param == "model"
    with openai.OpenAI(base_url=base_url, api_key="other", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            stranger.models.list()
        assert unknown.value.code == "invalid_api_key"


def test_an_error_comes_before_a_stream_begins(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ai.chat.completions.create(**HOW, stream=True, extra_body={"regex": "("})
    assert caught.value.param == "regex"


def test_too_many_at_once_are_told_to_come_again(ai: openai.OpenAI) -> None:
    with ai.completions.create(**ENDLESS, n=60, stream=True) as stream:
        next(stream)
        with pytest.raises(openai.RateLimitError) as caught:
            ai.chat.completions.create(**HOW, n=20)
    assert caught.value.response.headers["retry-after"]
    assert ai.chat.completions.create(**GREEDY).choices


@pytest.mark.parametrize(
    ("extra", "pattern"),
    [
        ({"regex": "[a-c]{3}-[0-9]{2}"}, "[a-c]{3}-[0-9]{2}"),
        ({"guided_regex": "x{3,4}yz{2}"}, "x{3,4}yz{2}"),
        ({"guided_choice": ["north", "south"]}, "north|south"),
        ({"structured_outputs": {"choice": ["north", "south"]}}, "north|south"),
        ({"ebnf": 'root ::= "a" ("b" | "c") "d"'}, "a(b|c)d"),
    ],
)
def test_extras_bind_the_answer(ai: openai.OpenAI, extra: Any, pattern: str) -> None:
    for seed in range(2):
        out = ai.chat.completions.create(**HOW, seed=seed, max_tokens=64, extra_body=extra)
        assert re.fullmatch(pattern, out.choices[0].message.content or "")


SCHEMA = Weather.model_json_schema()


@pytest.mark.parametrize(
    "extra",
    [
        {"json_schema": json.dumps(SCHEMA)},
        {"guided_json": SCHEMA},
        {"structured_outputs": {"json": SCHEMA}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "w", "schema": SCHEMA},
            }
        },
    ],
)
def test_extras_bind_the_answer_to_a_schema(ai: openai.OpenAI, extra: Any) -> None:
    out = ai.chat.completions.create(**HOW, max_tokens=200, extra_body=extra)
    Weather.model_validate_json(out.choices[0].message.content or "")


def test_template_arguments_reach_the_template(ai: openai.OpenAI) -> None:
    plain = ai.chat.completions.create(**GREEDY)
    extra = {"chat_template_kwargs": {"begin_with": "Well, I think that"}}
    begun = ai.chat.completions.create(**GREEDY, extra_body=extra)
    assert plain.usage is not None and begun.usage is not None
    assert begun.usage.prompt_tokens > plain.usage.prompt_tokens


def test_raw_answers_are_json_with_headers(ai: openai.OpenAI) -> None:
    raw = ai.chat.completions.with_raw_response.create(**GREEDY)
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content
    with ai.chat.completions.with_streaming_response.create(**GREEDY, stream=True) as streamed:
        assert streamed.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in streamed.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_who_does_not_wait_or_hangs_up_leaves_nothing_behind(
    ai: openai.OpenAI, server: str
) -> None:
    with pytest.raises(openai.APITimeoutError):
        ai.with_options(timeout=0.3).completions.create(**ENDLESS)
    with ai.completions.create(**ENDLESS, stream=True) as stream:
        next(stream)
    wait_for_quiet(server)
    assert ai.chat.completions.create(**GREEDY).choices


def test_who_is_cancelled_leaves_nothing_behind(base_url: str, server: str) -> None:
    async def story() -> None:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY) as client:
            asked = asyncio.ensure_future(client.completions.create(**ENDLESS))
            await asyncio.sleep(0.2)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(story())
    wait_for_quiet(server)


def wait_for_quiet(server: str) -> None:
    deadline = time.monotonic() + 5
    headers = {"authorization": f"Bearer {KEY}"}
    while True:
        stats = httpx.get(f"{server}/get_server_info", headers=headers).json()["stats"]
        if stats["num_running"] == stats["num_waiting"] == 0:
            break
        assert time.monotonic() < deadline, stats
        time.sleep(0.02)
    assert stats["num_free_pages"] + stats["num_cached_pages"] == stats["num_pages"]

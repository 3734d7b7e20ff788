"""/v1/chat/completions by the real openai client, sync and async, whole and streamed."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest

from tests.front.fakes import BOS, EOS, logprob_of
from tests.server.live import TEXT, Live, live

USER: Any = [{"role": "user", "content": "Hi"}]


def prompt_of(server: Live) -> str:
    """The rendered prompt of the last request, without BOS."""
    ids = server.client.submits[-1].prompt_ids.tolist()
    assert ids[0] == BOS and BOS not in ids[1:]
    return bytes(ids[1:]).decode()


def test_a_chat_is_answered_to_its_end(server: Live, ai: openai.OpenAI) -> None:
    out = ai.chat.completions.create(model="fake", messages=USER)
    assert (out.object, out.model, len(out.choices)) == ("chat.completion", "fake", 1)
    choice = out.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", TEXT)
    assert choice.finish_reason == "stop"
    assert choice.model_extra is not None and choice.model_extra["matched_stop"] == EOS
    assert out.usage is not None
    assert out.usage.completion_tokens == len(TEXT.encode()) + 1
    assert out.usage.prompt_tokens == len("[user]Hi[assistant]") + 1
    assert prompt_of(server) == "[user]Hi[assistant]"


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(ai: openai.OpenAI) -> None:
    chunks = list(
        ai.chat.completions.create(model="fake", messages=USER, max_tokens=3, stream=True)
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    deltas = [chunk.choices[0].delta.content for chunk in chunks[1:-1]]
    assert deltas == ["T", "h", "e"]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * 4 + ["length"]
    assert all(chunk.usage is None for chunk in chunks)
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1


def test_a_raw_stream_is_what_clients_parse(http: httpx.Client) -> None:
    body = {"messages": USER, "max_tokens": 1, "stream": True}
    answer = http.post("/v1/chat/completions", json=body)
    parts = answer.text.split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]
    assert all("usage" not in chunk for chunk in chunks)
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[1]["choices"][0]["finish_reason"] is None


def test_usage_comes_last_and_on_request_all_along(http: httpx.Client) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"messages": USER, "max_tokens": 2, "stream": True, "stream_options": options}
    parts = http.post("/v1/chat/completions", json=body).text.split("\n\n")[:-2]
    chunks = [json.loads(part.removeprefix("data: ")) for part in parts]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [0, 1, 2, 2, 2]
    assert chunks[-1]["choices"] == []


def test_the_async_client_streams_many_at_once(server: Live) -> None:
    async def one(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model="fake", messages=USER, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def story() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any") as client:
            return await asyncio.gather(*(one(client) for _ in range(20)))

    assert asyncio.run(story()) == [TEXT] * 20


def test_several_choices_whole_and_streamed(ai: openai.OpenAI) -> None:
    out = ai.chat.completions.create(model="fake", messages=USER, n=3, seed=5, max_tokens=9)
    assert [choice.index for choice in out.choices] == [0, 1, 2]
    texts = ["", "", ""]
    roles = 0
    for chunk in ai.chat.completions.create(
        model="fake", messages=USER, n=3, seed=5, max_tokens=9, stream=True
    ):
        choice = chunk.choices[0]
        roles += choice.delta.role == "assistant"
        texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in out.choices]
    assert roles == 3 and len(set(texts)) > 1


def test_logprobs_have_bytes_and_the_likeliest_others(ai: openai.OpenAI) -> None:
    out = ai.chat.completions.create(
        model="fake", messages=USER, max_tokens=1, logprobs=True, top_logprobs=2
    )
    found = out.choices[0].logprobs
    assert found is not None and found.content is not None
    entry = found.content[0]
    assert (entry.token, entry.bytes, entry.logprob) == ("T", [84], logprob_of(84))
    assert [(top.token, top.logprob) for top in entry.top_logprobs] == [
        ("\0", logprob_of(0)),
        ("\x01", logprob_of(1)),
    ]


def test_a_stream_has_a_logprob_for_every_token(server: Live, ai: openai.OpenAI) -> None:
    server.client.reset("aü!")
    stream = ai.chat.completions.create(model="fake", messages=USER, logprobs=True, stream=True)
    entries = [
        entry
        for chunk in stream
        for entry in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else None)
        or []
    ]
    assert b"".join(bytes(entry.bytes or []) for entry in entries) == "aü!</s>".encode()


def test_a_stop_string_across_tokens_is_trimmed(server: Live, ai: openai.OpenAI) -> None:
    out = ai.chat.completions.create(model="fake", messages=USER, stop=[" that"])
    assert out.choices[0].message.content == "The text"
    assert out.choices[0].finish_reason == "stop"
    assert out.choices[0].model_extra == {"matched_stop": " that"}
    assert out.usage is not None and out.usage.completion_tokens == len("The text that")
    stream = ai.chat.completions.create(model="fake", messages=USER, stop=" that", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "The text"
    assert len(server.client.aborted) == 2


def test_both_names_of_the_limit_count(ai: openai.OpenAI) -> None:
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        out = ai.chat.completions.create(model="fake", messages=USER, **limit)  # type: ignore[call-overload]
        assert out.choices[0].message.content == "Th"


def test_messages_of_all_roles_and_shapes_are_rendered(server: Live, ai: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "ü", "name": "x"},
    ]
    ai.chat.completions.create(model="fake", messages=messages, max_tokens=1)
    assert prompt_of(server) == "[system]Be brief.[user]ab[assistant][user]ü[assistant]"


def test_the_final_message_may_be_continued(server: Live, ai: openai.OpenAI) -> None:
    messages: Any = [*USER, {"role": "assistant", "content": "Well,"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    ai.chat.completions.create(model="fake", messages=messages, extra_body=extra, max_tokens=1)
    assert prompt_of(server) == "[user]Hi[assistant]Well,"


def test_template_arguments_are_those_the_template_reads(server: Live, ai: openai.OpenAI) -> None:
    extra: Any = {"chat_template_kwargs": {"shout": True, "enable_thinking": False}}
    ai.chat.completions.create(model="fake", messages=USER, extra_body=extra, max_tokens=1)
    assert prompt_of(server) == "[user]Hi![assistant]"
    for name in ("bos_token", "messages", "add_generation_prompt", "tools", "unheard_of"):
        with pytest.raises(openai.BadRequestError) as caught:
            ai.chat.completions.create(
                model="fake", messages=USER, extra_body={"chat_template_kwargs": {name: "x"}}
            )
        assert caught.value.param == "chat_template_kwargs"


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_of_the_engine_reaches_the_client(
    server: Live, ai: openai.OpenAI, stream: bool
) -> None:
    server.client.fails = True
    with pytest.raises(openai.APIError, match="NaN"):
        out = ai.chat.completions.create(model="fake", messages=USER, stream=stream)
        list(out)  # type: ignore[call-overload]


def test_what_means_nothing_here_is_accepted(http: httpx.Client) -> None:
    body = {
        "messages": USER,
        "max_tokens": 1,
        "user": "me",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": True,
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "priority": 0,
        "regex": None,
    }
    assert http.post("/v1/chat/completions", json=body).status_code == 200


def test_an_unknown_field_is_warned_of_once(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        body = {"messages": USER, "max_tokens": 1, "brand_new": {"x": 1}}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
    assert [record.message for record in caplog.records if "brand_new" in record.message] == [
        "Requests have a field 'brand_new' that is not known here: ignored."
    ]


def test_defaults_of_the_checkpoint_hold_where_the_request_is_silent() -> None:
    from tests.front.fakes import FakeEngineClient, make_info

    defaults = {"temperature": 0.6, "top_k": 20.0, "top_p": 0.9}
    fake = FakeEngineClient("abc", info=make_info(default_sampling=defaults))
    with live(fake) as server, httpx.Client(base_url=server.url) as http:
        for path, body in (
            ("/v1/chat/completions", {"messages": USER, "top_p": 0.5}),
            ("/v1/completions", {"prompt": "a", "top_p": 0.5, "temperature": None}),
            ("/generate", {"text": "a"}),
        ):
            assert http.post(path, json=body).status_code == 200
    seen = [(s.params.temperature, s.params.top_k, s.params.top_p) for s in fake.submits]
    assert seen == [(0.6, 20, 0.5), (0.6, 20, 0.5), (1.0, -1, 1.0)]


def test_cached_tokens_are_reported_on_demand() -> None:
    with live(enable_cache_report=True) as server:
        server.client.num_cached = 2
        body = {"messages": USER, "n": 2, "max_tokens": 1}
        usage = httpx.post(f"{server.url}/v1/chat/completions", json=body).json()["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 2}

"""Streams as servers send them, byte for byte: what is counted, and what is a failure."""

import asyncio
import json

import pytest

from sgjax.bench.serving.client import ServerClient
from sgjax.bench.serving.forms import FORMS
from sgjax.errors import BenchmarkFailed, ConfigError
from tests.bench.serving.scripted import scripted

DONE = b"data: [DONE]\n\n"


def event(value, end=b"\n\n"):
    return b"data: " + json.dumps(value).encode() + end


def chat(delta, **rest):
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None} | rest]})


def completion(text, finish=None):
    return event({"choices": [{"index": 0, "text": text, "finish_reason": finish}]})


def generated(ids, finish=None):
    meta = {"completion_tokens": len(ids), "prompt_tokens": 3, "cached_tokens": 2}
    return event({"output_ids": ids, "meta_info": meta | {"finish_reason": finish}})


def usage(prompt, output):
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output}})


def outcome_of(api, pieces, status=200):
    form = FORMS[api]
    content = "Hello" if api == "chat" else [1, 2, 3]

    async def ask():
        async with ServerClient(url) as client:
            return await client.stream(form, form.body(content, 9, {}))

    with scripted({form.path: (status, pieces)}) as (url, _):
        return asyncio.run(ask())


def test_chat_counts_what_has_content_and_takes_tokens_from_usage():
    pieces = [
        chat({"role": "assistant", "content": ""}),
        chat({"content": "He"}),
        chat({"content": "llo"}),
        chat({}, finish_reason="stop"),
        usage(7, 5),
        DONE,
    ]
    outcome = outcome_of("chat", pieces)
    assert outcome.error is None
    assert (len(outcome.times), outcome.output_tokens, outcome.num_prompt) == (2, 5, 7)
    assert "".join(outcome.answer) == "Hello"
    assert outcome.begin < outcome.times[0] < outcome.times[1] < outcome.end


def test_without_usage_every_event_with_tokens_counts_for_one():
    outcome = outcome_of("completions", [completion("a"), completion(""), completion("b"), DONE])
    assert (outcome.error, outcome.output_tokens) == (None, 3)
    outcome = outcome_of("completions", [completion("a"), completion("", "stop"), DONE])
    assert (outcome.error, outcome.output_tokens) == (None, 1)


def test_generate_counts_tokens_as_they_accumulate():
    last = generated([5, 6, 7], {"type": "length"})
    outcome = outcome_of("generate", [generated([5]), generated([5, 6, 7]), last, DONE])
    assert (outcome.error, outcome.output_tokens, len(outcome.times)) == (None, 3, 2)
    assert (outcome.num_prompt, outcome.num_cached) == (3, 2)
    assert outcome.answer["output_ids"] == [5, 6, 7]


def test_text_that_looks_like_a_count_is_no_count():
    text = '"completion_tokens": 99, \\"completion_tokens\\": 98'
    meta = {"completion_tokens": 1, "prompt_tokens": 1, "finish_reason": {"type": "length"}}
    outcome = outcome_of("generate", [event({"text": text, "meta_info": meta}), DONE])
    assert (outcome.error, outcome.output_tokens) == (None, 1)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_may_be_cut_anywhere_and_end_their_lines_as_they_like(size):
    whole = b": a comment\r\n\r\n" + b"".join(
        piece.replace(b"\n", b"\r\n") for piece in [completion("ä"), completion("b"), DONE]
    )
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    outcome = outcome_of("completions", pieces)
    assert (outcome.error, "".join(outcome.answer)) == (None, "äb")


@pytest.mark.parametrize(
    ("api", "pieces", "said"),
    [
        ("chat", [chat({"content": "a"})], "before its end was said"),
        ("chat", [DONE], "has no token"),
        ("chat", [b"data: {nonsense\n\n", DONE], "not of /v1/chat/completions: JSONDecodeError"),
        ("chat", [event({"choices": [{}]}), DONE], "KeyError: 'delta'"),
        ("chat", [chat({"content": "a"}), event({"error": {"message": "worn out"}}), DONE], "worn"),
        ("completions", [event({"error": {"message": "worn out"}}), DONE], "worn out"),
        ("generate", [generated([1]), event({"error": {"message": "worn out"}}), DONE], "worn out"),
        ("generate", [generated([1], {"type": "abort", "message": "why"}), DONE], "aborted: why"),
        ("generate", [b""], "before its end was said"),
    ],
)
def test_a_stream_that_goes_wrong_is_a_failure_that_says_why(api, pieces, said):
    outcome = outcome_of(api, pieces)
    assert outcome.error is not None and said in outcome.error


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "too long"}}', "status 400: too long"),
        (b'{"error": "too long"}', "status 400: too long"),
        (b"<h1>no</h1>", "status 400: <h1>no</h1>"),
        (b"[1]", "status 400: [1]"),
    ],
)
def test_a_refusal_is_told_with_its_status(body, said):
    assert outcome_of("generate", [body], status=400).error == said


def test_a_server_that_is_not_there_is_said_with_its_address():
    async def ask():
        async with ServerClient("http://127.0.0.1:9") as client:
            outcome = await client.stream(FORMS["chat"], {})
            assert outcome.error is not None and "Connect" in outcome.error
            await client.get("/v1/models")

    with pytest.raises(BenchmarkFailed, match=r"http://127.0.0.1:9 does not answer: .*running"):
        asyncio.run(ask())


@pytest.mark.parametrize("url", ["127.0.0.1:30000", "ftp://here", "http://", "here"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError, match="must be like http://127"):
        ServerClient(url)


def test_cache_that_cannot_be_flushed_is_a_failure():
    async def flush():
        async with ServerClient(url) as client:
            await client.flush_cache()

    with scripted({}) as (url, _), pytest.raises(BenchmarkFailed, match="status 404: not here"):
        asyncio.run(flush())

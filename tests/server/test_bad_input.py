"""Every bad input gets its error, in one shape; after each the server answers a good request."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.server.live import Live

CHAT, COMPLETIONS, GENERATE = "/v1/chat/completions", "/v1/completions", "/generate"
USER = [{"role": "user", "content": "Hi"}]


class Bad(NamedTuple):
    path: str
    body: Any
    """JSON to send, or raw bytes."""
    param: str | None = None
    status: int = 400
    code: str | None = None
    says: str = ""
    """A part of the message."""
    method: str = "POST"
    headers: dict[str, str] = {"content-type": "application/json"}  # noqa: RUF012


def chat(field: str, value: Any, **more: Any) -> Bad:
    """A chat that is good but for one field."""
    return Bad(CHAT, {"messages": USER, field: value}, **({"param": field} | more))


def completion(field: str, value: Any, **more: Any) -> Bad:
    return Bad(COMPLETIONS, {"prompt": "a"} | {field: value}, **({"param": field} | more))


def native(field: str, value: Any, **more: Any) -> Bad:
    return Bad(
        GENERATE, {"text": "a", "sampling_params": {field: value}}, **({"param": field} | more)
    )


def roles(*messages: Any, param: str = "messages", says: str = "") -> Bad:
    return Bad(CHAT, {"messages": list(messages)}, param, says=says)


def message(content: Any, role: Any = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


PATHS = (CHAT, COMPLETIONS, GENERATE)
GOOD = {
    CHAT: {"messages": USER, "max_tokens": 2},
    COMPLETIONS: {"prompt": "a", "max_tokens": 2},
    GENERATE: {"text": "a", "sampling_params": {"max_new_tokens": 2}},
}

BODIES = [
    Bad(path, body, **more)
    for path in PATHS
    for body, more in [
        (b"{not json", {"says": "not valid JSON"}),
        (b"", {}),
        (b"[]", {"says": "must be a JSON object"}),
        (b"7", {"says": "must be a JSON object"}),
        (b"null", {}),
        (b'{"temperature": NaN}', {"says": "not valid JSON"}),
        (b'{"temperature": -Infinity}', {"says": "not valid JSON"}),
        (b'{"temperature": 1e999}', {"says": "not valid JSON"}),
        (b'{"prompt": "\\ud800"}', {"says": "not valid JSON"}),
        (b'{"prompt": "\xed\xa0\x80"}', {"says": "not valid JSON"}),
        (b'{"prompt": "\xff"}', {"says": "not valid JSON"}),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, {"says": "not valid JSON"}),
        (b"[" * 40 * 2**20, {"status": 413, "code": "too_large", "says": "32 MiB"}),
        (b"{}", {}),
        (b"a=b", {"headers": {"content-type": "text/plain"}, "status": 415}),
        (b"{}", {"headers": {}, "status": 415, "code": "unsupported_media_type"}),
        (b"{}", {"method": "GET", "status": 405, "code": "method_not_allowed"}),
        (b"{}", {"method": "DELETE", "status": 405, "code": "method_not_allowed"}),
    ]
]

CHATS = [
    chat("model", "gpt-4", status=404, code="model_not_found", says="'fake'"),
    chat("model", 7),
    chat("messages", []),
    chat("messages", "Hi"),
    chat("messages", [7]),
    chat("messages", USER * 9000),
    roles(message("a", role="wizard"), param="messages[0].role", says="wizard"),
    roles(message("a", role=None), param="messages[0].role"),
    roles(message(7), param="messages[0].content"),
    roles(message(None), param="messages[0].content"),
    roles(message([{"type": "text"}]), param="messages[0].content[0]"),
    roles(
        message([{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]),
        param="messages[0].content[0]",
        says="reads text only",
    ),
    roles(message("a", role="tool"), says="no tools here"),
    roles({"role": "assistant", "content": "a", "tool_calls": 7}, param="messages[0].tool_calls"),
    Bad(CHAT, {"messages": USER, "continue_final_message": True}, "continue_final_message"),
    chat("messages", [message("x" * 300)], param="prompt", code="context_length_exceeded"),
    chat("top_logprobs", 5, says="needs logprobs"),
    Bad(CHAT, {"messages": USER, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    Bad(CHAT, {"messages": USER, "logprobs": True, "top_logprobs": 10**6}, "top_logprobs"),
    chat("logprobs", 5),
    chat("max_completion_tokens", 10**18),
    chat("chat_template_kwargs", {"bos_token": "x"}),
    chat("chat_template_kwargs", "x"),
    chat("response_format", {"type": "poem"}, says="'poem'"),
    chat("response_format", {"type": "json_schema", "json_schema": {}}),
    chat("tools", [{"type": "function", "function": {}}], param="tools[0].function.name"),
    chat("tool_choice", "required"),
    chat("functions", [{"name": "f"}]),
    chat("regex", "("),
    chat("audio", {"voice": "x"}),
    chat("modalities", ["text", "audio"]),
    chat("priority", 3),
    chat("rid", ""),
    chat("rid", "x" * 1000),
]

SAMPLING = [
    make(param, value, **more)
    for make in (chat, completion)
    for param, value, more in [
        ("max_tokens", -1, {}),
        ("max_tokens", 10**18, {}),
        ("max_tokens", "ten", {"says": "not 'ten'"}),
        ("max_tokens", True, {}),
        ("max_tokens", 1.5, {}),
        ("max_tokens", 300, {"param": "prompt", "code": "context_length_exceeded", "says": "256"}),
        ("n", 0, {}),
        ("n", 10**9, {}),
        ("n", 129, {}),
        ("temperature", -1, {}),
        ("temperature", 10**9, {}),
        ("temperature", "hot", {}),
        ("temperature", True, {}),
        ("top_p", 0, {}),
        ("top_p", 1.5, {}),
        ("top_k", 0, {}),
        ("top_k", -2, {}),
        ("min_p", 2, {}),
        ("frequency_penalty", 99, {}),
        ("presence_penalty", -99, {}),
        ("repetition_penalty", 0, {}),
        ("repetition_penalty", 5e-324, {}),
        ("seed", 2**63, {}),
        ("seed", 2**70, {}),
        ("seed", 1.5, {}),
        ("logit_bias", {"word": 1}, {"says": "token ids"}),
        ("logit_bias", {"258": 1}, {"says": "258"}),
        ("logit_bias", {"1_0": 1}, {"says": "token ids"}),
        ("logit_bias", {"01": 1}, {"says": "token ids"}),
        ("logit_bias", {" 1": 1}, {"says": "token ids"}),
        ("logit_bias", {"-1": 1}, {}),
        ("logit_bias", {"1": 1e9}, {}),
        ("logit_bias", {"1": None}, {}),
        ("logit_bias", {str(i): 1 for i in range(2000)}, {}),
        ("logit_bias", [1], {}),
        ("stop", [str(i) for i in range(1000)], {}),
        ("stop", "", {}),
        ("stop", [""], {}),
        ("stop", "x" * 10_000, {}),
        ("stop", 7, {}),
        ("stop", [7], {}),
        ("stop_token_ids", [258], {}),
        ("stop_token_ids", [-1], {}),
        ("stop_token_ids", [1] * 1000, {}),
        ("min_tokens", -1, {}),
        ("ignore_eos", "yes", {}),
        ("stream", "yes", {}),
        ("stream_options", {"include_usage": True}, {"says": "stream"}),
        ("stream_options", 7, {}),
        ("cache_salt", "x" * 1000, {}),
    ]
]

PROMPTS = [
    completion("prompt", value, **({"says": "prompt"} | more))
    for value, more in [
        (None, {}),
        ([], {}),
        ([[]], {}),
        ([[1], []], {}),
        (["a", 1], {}),
        ([1, "a"], {}),
        ([[1], "a"], {}),
        ([[["a"]]], {}),
        (7, {}),
        ({}, {}),
        ([-1], {}),
        ([258], {"says": "0 to 257"}),
        ([2**63], {}),
        ([2**31], {}),
        ([1.5], {}),
        ([True], {}),
        ([None], {}),
        ([1] * 300, {"code": "context_length_exceeded", "says": "300"}),
        ("a" * 300, {"code": "context_length_exceeded", "says": "256"}),
        (["a"] * 400, {"param": None, "says": "at most"}),
    ]
] + [
    Bad(COMPLETIONS, {"model": "fake"}, "prompt"),
    completion("model", "gpt-4", status=404, code="model_not_found"),
    completion("logprobs", 21),
    completion("logprobs", -1),
    completion("logprobs", True),
    Bad(COMPLETIONS, {"prompt": "a", "n": 3, "best_of": 2}, "best_of", says="smaller than n"),
    Bad(COMPLETIONS, {"prompt": "a", "best_of": 2, "stream": True}, "best_of", says="streamed"),
    completion("best_of", 0),
    completion("best_of", 129),
    completion("suffix", "x", code="unsupported_parameter"),
    completion("lora_path", "x"),
]

NATIVES = [
    Bad(GENERATE, {}, says="Either text or input_ids"),
    Bad(GENERATE, {"text": "a", "input_ids": [1]}, says="Either text or input_ids"),
    Bad(GENERATE, {"text": []}, "text"),
    Bad(GENERATE, {"text": [1]}, "text"),
    Bad(GENERATE, {"text": 7}, "text"),
    Bad(GENERATE, {"input_ids": []}, "input_ids"),
    Bad(GENERATE, {"input_ids": [[]]}, "input_ids"),
    Bad(GENERATE, {"input_ids": "a"}, "input_ids"),
    Bad(GENERATE, {"input_ids": ["a"]}, "input_ids"),
    Bad(GENERATE, {"input_ids": [258]}, "prompt", says="vocabulary"),
    Bad(GENERATE, {"input_ids": [-1]}, "input_ids"),
    Bad(GENERATE, {"input_ids": [1.5]}, "input_ids"),
    Bad(GENERATE, {"input_ids": [True]}, "input_ids"),
    Bad(GENERATE, {"input_ids": [1] * 300}, "prompt", code="context_length_exceeded", says="300"),
    Bad(GENERATE, {"text": "a", "sampling_params": 7}, "sampling_params"),
    Bad(GENERATE, {"text": "a", "sampling_params": [{}, {}]}, "sampling_params", says="2 entries"),
    Bad(GENERATE, {"text": ["a", "b"], "rid": ["x", "x"]}, "rid"),
    Bad(GENERATE, {"text": ["a", "b"], "rid": ["x"]}, "rid"),
    Bad(GENERATE, {"text": "a", "return_logprob": "yes"}, "return_logprob"),
    Bad(
        GENERATE, {"text": "a", "return_logprob": True, "top_logprobs_num": 21}, "top_logprobs_num"
    ),
    Bad(
        GENERATE, {"text": "a", "return_logprob": True, "logprob_start_len": 5}, "logprob_start_len"
    ),
    Bad(
        GENERATE,
        {"text": "a", "return_logprob": True, "logprob_start_len": -2},
        "logprob_start_len",
    ),
    Bad(GENERATE, {"text": "a", "image_data": "http://x"}, "image_data", says="not supported"),
    Bad(GENERATE, {"text": "a", "stream": 7}, "stream"),
    native("temprature", 1, says="Did you mean 'temperature'"),
    native("max_new_tokens", -1),
    native("max_new_tokens", 10**18),
    native("max_new_tokens", "ten"),
    native("max_new_tokens", 1.5),
    native("min_new_tokens", 200, says="not be larger"),
    native("temperature", -1),
    native("temperature", "hot"),
    native("top_p", 0),
    native("top_k", 0),
    native("repetition_penalty", 5e-324),
    native("n", 0),
    native("n", 10**9),
    native("stop", [""]),
    native("stop", 7),
    native("stop_token_ids", 7),
    native("logit_bias", {"258": 1}),
    native("regex", "("),
    Bad("/abort_request", {}, "rid"),
    Bad("/abort_request", {"rid": 7}, "rid"),
    Bad("/nowhere", {}, status=404, code="not_found"),
    Bad("/v1/embeddings", {"input": "a"}, "model", says="no embeddings"),
]

ALL = [*BODIES, *CHATS, *SAMPLING, *PROMPTS, *NATIVES]


def names() -> Iterator[str]:
    for bad in ALL:
        body = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
        yield f"{bad.method}{bad.path}-{body[-50:].decode(errors='replace')}"


@pytest.mark.parametrize("bad", ALL, ids=names())
def test_a_bad_input_is_refused_and_the_next_good_one_answered(
    server: Live, http: httpx.Client, bad: Bad
) -> None:
    content = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    answer = http.request(bad.method, bad.path, content=content, headers=bad.headers)
    assert answer.status_code == bad.status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) < 600
    assert bad.says in error["message"]
    if not isinstance(bad.body, bytes):
        assert error["param"] == bad.param
    if bad.code is not None:
        assert error["code"] == bad.code

    path = bad.path if bad.path in GOOD else GENERATE
    good = http.post(path, json=GOOD[path])
    assert good.status_code == 200, good.text
    assert not server.client.live and server.service.generator.num_live == 0


@pytest.mark.parametrize("bad", [bad for bad in ALL if isinstance(bad.body, dict)][::7])
def test_a_stream_refuses_with_a_status_too(http: httpx.Client, bad: Bad) -> None:
    answer = http.post(bad.path, json={"stream": True, **bad.body})
    assert answer.status_code == bad.status
    assert "error" in answer.json()

"""Bad input of /v1/responses and /v1/messages: what is refused, with which words, and that the next
good request is answered."""

import json
from typing import Any, NamedTuple

import httpx
import pytest

from tests.server.live import Live

RESPONSES, MESSAGES, COUNT = "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"
INPUT = "/v1/responses/input_tokens"
GOOD: dict[str, dict[str, Any]] = {
    RESPONSES: {"input": "Hi", "max_output_tokens": 2},
    MESSAGES: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2},
    INPUT: {"input": "Hi"},
    COUNT: {"messages": [{"role": "user", "content": "Hi"}]},
}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


class Bad(NamedTuple):
    path: str
    body: dict[str, Any]
    param: str | None
    """Of an error in OpenAI's form."""
    says: str = ""
    status: int = 400
    code: str | None = None


def response(field: str, value: Any, says: str = "", **more: Any) -> Bad:
    param = more.pop("param", field)
    return Bad(RESPONSES, GOOD[RESPONSES] | {field: value}, param, says, **more)


def message(field: str, value: Any, says: str = "", **more: Any) -> Bad:
    return Bad(MESSAGES, GOOD[MESSAGES] | {field: value}, None, says, **more)


def item(**fields: Any) -> list[dict[str, Any]]:
    return [fields]


def block(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [fields]}]


RESPONSE_CASES = [
    Bad(INPUT, {}, "input", "required"),
    Bad(INPUT, {"input": "a", "previous_response_id": "resp_1"}, "previous_response_id", "resp_1"),
    Bad(INPUT, {"input": "a", "truncation": "auto"}, "truncation", "not served"),
    Bad(RESPONSES, {}, "input", "required"),
    response("input", 7, "a string or a list"),
    response("input", []),
    response("input", ["a"], "must be an object"),
    response("input", item()),
    response("input", item(role="wizard", content="a"), "wizard"),
    response("input", item(role="user"), "content"),
    response("input", item(role="user", content=7), "a string or a list"),
    response("input", item(role="user", content=[{"type": "input_text"}]), "text"),
    response(
        "input",
        item(role="user", content=[{"type": "input_image"}]),
        "input.0.content.0: type 'input_image' is not",
    ),
    response("input", item(role="user", content=[{"type": "input_file"}]), "'input_file' is not"),
    response("input", item(role="user", content=[{"type": "poem"}]), "poem"),
    response("input", item(type="web_search_call"), "'web_search_call' is not served"),
    response("input", item(type="mcp_call"), "'mcp_call' is not served"),
    response("input", item(type=7)),
    response("input", item(type="function_call", name="f", call_id="c"), "'arguments' is required"),
    response(
        "input", item(type="function_call_output", call_id="c", output="7"), "no function_call"
    ),
    response("input", item(type="reasoning", encrypted_content="x"), "another server"),
    response("input", item(type="item_reference", id="msg_1"), "There is no item 'msg_1'"),
    response("input", "x" * 300, param="prompt", code="context_length_exceeded"),
    response("model", "gpt-4", "'fake'", status=404, code="model_not_found"),
    response("instructions", 7),
    response("previous_response_id", "resp_1", "'resp_1'", code="previous_response_not_found"),
    response("previous_response_id", ""),
    response("conversation", "conv_1", code="unsupported_parameter"),
    response("prompt", {"id": "pmpt_1"}, code="unsupported_parameter"),
    response("context_management", [{"type": "compaction"}], code="unsupported_parameter"),
    response("max_tokens", 5, code="unsupported_parameter"),
    response("messages", [{"role": "user"}], code="unsupported_parameter"),
    response("response_format", {"type": "json_object"}, code="unsupported_parameter"),
    response("regex", "a", code="unsupported_parameter"),
    response("n", 2, code="unsupported_parameter"),
    response("truncation", "auto", "'auto' is not served", code="unsupported_parameter"),
    response("truncation", "x"),
    response("max_output_tokens", 0),
    response("max_output_tokens", 10**18),
    response("max_output_tokens", "ten", "not 'ten'"),
    response("temperature", -1),
    response("temperature", "hot"),
    response("top_p", 0),
    response("top_logprobs", 21),
    response("top_logprobs", 5, "include"),
    response("include", ["everything"]),
    response("include", "message.output_text.logprobs"),
    response("stream_options", {"include_obfuscation": True}, "only for streams"),
    response("stream", "yes"),
    response("store", 1),
    Bad(RESPONSES, GOOD[RESPONSES] | {"background": True, "store": False}, "background", "store"),
    response("metadata", {"a": 1}),
    response("metadata", {str(i): "a" for i in range(17)}),
    response("metadata", {"a" * 65: "a"}),
    response("metadata", {"a": "a" * 513}),
    response("reasoning", {"effort": "enormous"}),
    response("text", {"format": {"type": "poem"}}, "poem"),
    response("text", {"format": {"type": "json_schema", "name": "a"}}, "'schema' is required"),
    response(
        "text",
        {"format": {"type": "json_schema", "name": "a", "schema": {"type": "wizard"}}},
        "wizard",
        param="text.format.schema",
    ),
    response("tools", [{"type": "web_search"}], "'web_search' is not served"),
    response("tools", [{"type": "mcp", "server_label": "x"}], "'mcp' is not served"),
    response("tools", [{"type": "custom", "name": "x"}], "'custom' is not served"),
    response("tools", [{"type": "function"}], "'name' is required"),
    response("tools", [{"type": "function", "name": "a b"}]),
    response("tools", [{"type": "function", "name": "a", "parameters": 7}]),
    response("tool_choice", "required", "there are no tools"),
    response("tool_choice", {"type": "function", "name": "f"}, "there are no tools"),
    response("tool_choice", {"type": "file_search"}, "'file_search' is not served"),
    response("tool_choice", {"type": "function"}, "'name' is required"),
    response("tool_choice", "maybe"),
    response(
        "tool_choice",
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "not one of the tools",
    ),
    response("chat_template_kwargs", {"bos_token": "x"}),
]
MESSAGE_CASES = [
    Bad(MESSAGES, {}, None, "required"),
    Bad(MESSAGES, {"messages": GOOD[MESSAGES]["messages"]}, None, "max_tokens: Field required"),
    Bad(COUNT, {}, None, "messages: Field required"),
    Bad(COUNT, {"messages": []}, None, "messages"),
    message("messages", []),
    message("messages", "Hi"),
    message("messages", [7]),
    message("messages", [{"role": "wizard", "content": "a"}], "wizard"),
    message("messages", [{"role": "user", "content": 7}], "a string or a list"),
    message("messages", [{"role": "user"}], "'content' is required"),
    message("messages", block(type="image", source={}), "'image' is not served"),
    message("messages", block(type="document"), "'document' is not served"),
    message("messages", block(type="redacted_thinking", data="x"), "'redacted_thinking' is not"),
    message("messages", block(type="poem"), "poem"),
    message("messages", block(type="text"), "messages.0.content.0.text: 'text' is required"),
    message("messages", block(type="tool_result", tool_use_id="t"), "no tool_use block"),
    message("messages", block(type="tool_use", id="t", name="f", input={}), "message of the user"),
    message("messages", block(type="tool_use", id="t", name="f", input=7)),
    message(
        "messages",
        [
            {"role": "user", "content": "a"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
            },
        ],
        "a tool_result for each tool_use",
    ),
    message("model", "claude", "'fake'", status=404),
    message("system", 7),
    message("system", [{"type": "image"}], "'image' is not served"),
    message("max_tokens", 0),
    message("max_tokens", -1),
    message("max_tokens", 10**18),
    message("max_tokens", "ten", "not 'ten'"),
    message("max_tokens", 1000, "prompt is too long"),
    message("temperature", 1.5),
    message("top_p", 0),
    message("top_k", -1),
    message("stop_sequences", "a"),
    message("stop_sequences", [""]),
    message("stop_sequences", [str(i) for i in range(17)]),
    message("stream", "yes"),
    message("metadata", {"user_id": "x" * 600}),
    message("thinking", {"type": "enabled"}, "'budget_tokens' is required"),
    message("thinking", {"type": "enabled", "budget_tokens": 10}),
    message("thinking", {"type": "enabled", "budget_tokens": 2048}, "less than max_tokens"),
    message("thinking", {"type": "hard"}, "hard"),
    message("tools", [{"type": "web_search_20250305", "name": "w"}], "web_search_20250305"),
    message("tools", [{"name": "f"}], "'input_schema' is required"),
    message("tools", [{"name": "a b", "input_schema": SCHEMA}]),
    message("tool_choice", {"type": "any"}, "there are no tools"),
    message("tool_choice", {"type": "tool"}, "'name' is required"),
    message("tool_choice", {"type": "maybe"}, "maybe"),
    message("output_config", {"effort": "enormous"}),
    message("output_config", {"format": {"type": "json_schema"}}, "'schema' is required"),
    message(
        "output_config", {"format": {"type": "json_schema", "schema": {"type": "wizard"}}}, "wizard"
    ),
    message("container", "c", "not supported"),
    message("mcp_servers", [{"url": "x"}], "not supported"),
    message("stop", "x", "not supported"),
    message("response_format", {"type": "json_object"}, "not supported"),
]


def name_of(bad: Bad) -> str:
    return f"{bad.path}-{json.dumps(bad.body)[-50:]}"


def check_next(server: Live, http: httpx.Client, path: str) -> None:
    good = http.post(path, json=GOOD[path])
    assert good.status_code == 200, good.text
    assert not server.client.live and server.service.generator.num_live == 0


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("bad", RESPONSE_CASES, ids=name_of)
def test_a_bad_response_is_refused(
    server: Live, http: httpx.Client, bad: Bad, is_stream: bool
) -> None:
    stream = {"stream": True} if is_stream and bad.param != "stream_options" else {}
    answer = http.post(bad.path, json={**stream, **bad.body})
    assert answer.status_code == bad.status, answer.text
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == "invalid_request_error"
    assert bad.says in error["message"] and len(error["message"]) < 600
    assert error["param"] == bad.param
    assert bad.code in (None, error["code"])
    check_next(server, http, bad.path)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("bad", MESSAGE_CASES, ids=name_of)
def test_a_bad_message_is_refused_in_anthropics_form(
    server: Live, http: httpx.Client, bad: Bad, is_stream: bool
) -> None:
    answer = http.post(bad.path, json={"stream": True, **bad.body} if is_stream else bad.body)
    assert answer.status_code == bad.status, answer.text
    body = answer.json()
    assert body["type"] == "error" and list(body) == ["type", "error"]
    kind = "not_found_error" if bad.status == 404 else "invalid_request_error"
    assert body["error"]["type"] == kind
    assert bad.says in body["error"]["message"] and len(body["error"]["message"]) < 600
    check_next(server, http, bad.path)


RAW = [
    (b"{not json", {}, 400, "not valid JSON"),
    (b"", {}, 400, ""),
    (b"[]", {}, 400, "must be a JSON object"),
    (b'{"temperature": NaN}', {}, 400, "not valid JSON"),
    (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, {}, 400, "not valid JSON"),
    (b"a=b", {"content-type": "text/plain"}, 415, "application/json"),
    (b"[" * 40 * 2**20, {}, 413, "32 MiB"),
]


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES, COUNT])
@pytest.mark.parametrize(("content", "headers", "status", "says"), RAW, ids=range(len(RAW)))
def test_what_is_no_json_is_refused(
    server: Live,
    http: httpx.Client,
    path: str,
    content: bytes,
    headers: Any,
    status: int,
    says: str,
) -> None:
    headers = {"content-type": "application/json"} | headers
    answer = http.post(path, content=content, headers=headers)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert ("type" in answer.json()) == (path != RESPONSES)
    check_next(server, http, path)


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES, COUNT])
def test_a_wrong_method_is_told_which_are_right(http: httpx.Client, path: str) -> None:
    answer = http.put(path)
    assert answer.status_code == 405 and "Allow header" in answer.json()["error"]["message"]
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 1000}, {"order": "random"}, {"after": "msg_1"}]
)
def test_a_bad_page_is_refused(http: httpx.Client, query: Any) -> None:
    out = http.post(RESPONSES, json=GOOD[RESPONSES]).json()
    answer = http.get(f"{RESPONSES}/{out['id']}/input_items", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in ("query", *query)

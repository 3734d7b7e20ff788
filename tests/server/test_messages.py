"""/v1/messages by the real anthropic client and by hand."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from tests.server.live import TEXT, Live, live
from tests.server.tool_template import call, live_with_tools

PATH = "/v1/messages"
USER: Any = [{"role": "user", "content": "Hi"}]
ASK: Any = {"model": "fake", "max_tokens": 100, "messages": USER}
TOOL: Any = {
    "name": "add",
    "description": "Adds.",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
}


@pytest.fixture(scope="module")
def claude_client(shared_server: Live) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=shared_server.url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(server: Live, claude_client: anthropic.Anthropic) -> anthropic.Anthropic:
    return claude_client


def prompt_of(server: Live) -> str:
    return bytes(server.client.submits[-1].prompt_ids.tolist()[1:]).decode()


def events_of(answer: httpx.Response) -> list[Any]:
    """The events of a stream, each under the name that is its type."""
    parts = answer.text.split("\n\n")
    assert parts.pop() == ""
    events = []
    for part in parts:
        name, data = part.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def test_a_message_is_answered(server: Live, claude: anthropic.Anthropic) -> None:
    out = claude.messages.create(**ASK, system="Be brief.", metadata={"user_id": "me"})
    assert (out.type, out.role, out.model) == ("message", "assistant", "fake")
    (block,) = out.content
    assert block.type == "text" and block.text == TEXT
    assert (out.stop_reason, out.stop_sequence) == ("end_turn", None)
    prompt = "[system]Be brief.[user]Hi[assistant]"
    assert prompt_of(server) == prompt
    assert out.usage.input_tokens == len(prompt) + 1
    assert out.usage.output_tokens == len(TEXT.encode()) + 1
    assert out.id.startswith("msg_")


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_a_stream_tells_what_the_whole_says(server: Live, http: httpx.Client, chunk: int) -> None:
    server.client.reset(TEXT, chunk=chunk)
    events = events_of(http.post(PATH, json=ASK | {"stream": True}))
    types = [event["type"] for event in events]
    assert types[:2] == ["message_start", "content_block_start"]
    assert types[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(types[2:-3]) == {"content_block_delta"}
    assert "".join(event["delta"]["text"] for event in events[2:-3]) == TEXT
    start = events[0]["message"]
    assert (start["content"], start["stop_reason"], start["usage"]["output_tokens"]) == (
        [],
        None,
        0,
    )
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    whole = http.post(PATH, json=ASK).json()
    assert events[-2]["usage"] == whole["usage"]
    assert start["usage"]["input_tokens"] == whole["usage"]["input_tokens"]


def test_the_client_puts_a_stream_together(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream) == TEXT
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == len(TEXT.encode()) + 1


def test_stop_sequences_are_named(claude: anthropic.Anthropic) -> None:
    out = claude.messages.create(**ASK, stop_sequences=["zzz", " that"])
    assert (out.stop_reason, out.stop_sequence) == ("stop_sequence", " that")
    assert out.content[0].text == "The text"  # type: ignore[union-attr]
    with claude.messages.stream(**ASK, stop_sequences=[" that"]) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", " that")


def test_the_limit_of_tokens_is_named(claude: anthropic.Anthropic) -> None:
    out = claude.messages.create(**ASK | {"max_tokens": 3})
    assert (out.stop_reason, out.content[0].text) == ("max_tokens", "The")  # type: ignore[union-attr]


def test_sampling_parameters_reach_the_engine(server: Live, claude: anthropic.Anthropic) -> None:
    claude.messages.create(**ASK, extra_body={"temperature": 0.3, "top_p": 0.4, "top_k": 5})
    params = server.client.submits[-1].params
    assert (params.temperature, params.top_p, params.top_k) == (0.3, 0.4, 5)
    claude.messages.create(**ASK, extra_body={"top_k": 0})
    assert server.client.submits[-1].params.top_k == -1


def test_the_assistants_last_message_is_gone_on_with(
    server: Live, claude: anthropic.Anthropic
) -> None:
    messages = [*USER, {"role": "assistant", "content": "Well,"}]
    claude.messages.create(**ASK | {"messages": messages})
    assert prompt_of(server) == "[user]Hi[assistant]Well,"


def test_tokens_are_counted_as_the_engine_reads_them(
    server: Live, claude: anthropic.Anthropic
) -> None:
    counted = claude.messages.count_tokens(model="fake", messages=USER, system="Be brief.")
    assert not server.client.submits
    claude.messages.create(**ASK, system="Be brief.")
    assert counted.input_tokens == len(server.client.submits[-1].prompt_ids)


def test_tokens_of_what_is_too_long_are_counted_too(http: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "x" * 30_000}]}
    answer = http.post(f"{PATH}/count_tokens", json=body)
    assert answer.json() == {"input_tokens": 30_000 + len("[user][assistant]") + 1}


def test_a_failure_of_the_engine_is_told(server: Live, claude: anthropic.Anthropic) -> None:
    server.client.fails = True
    with pytest.raises(anthropic.InternalServerError, match="NaN"):
        claude.messages.create(**ASK)
    with pytest.raises(anthropic.APIStatusError, match="NaN") as caught:
        list(claude.messages.create(**ASK, stream=True))
    error = {"type": "api_error", "message": "NaN"}
    assert caught.value.body == {"type": "error", "error": error}


def test_an_abort_is_an_error(server: Live, http: httpx.Client) -> None:
    server.client.reset(TEXT, pause_after=3)
    with http.stream("POST", PATH, json=ASK | {"stream": True}) as answer:
        lines = answer.iter_lines()
        while "delta" not in next(lines):
            pass
        httpx.post(f"{server.url}/abort_request", json={"abort_all": True})
        last = [line for line in lines if line][-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error == {"type": "invalid_request_error", "message": "The request was aborted."}


def test_a_client_that_goes_away_ends_its_stream(server: Live, http: httpx.Client) -> None:
    server.client.reset(TEXT, pause_after=3)
    with http.stream("POST", PATH, json=ASK | {"stream": True}) as answer:
        next(answer.iter_lines())
    server.wait_until(lambda: len(server.client.aborted) == 1, "an abort")


def test_what_means_nothing_here_is_accepted(http: httpx.Client) -> None:
    body = {
        "service_tier": "auto",
        "cache_control": {"type": "ephemeral"},
        "context_management": {"edits": []},
        "inference_geo": "eu",
        "tools": [],
        "container": None,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
    }
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "x", "x-api-key": "k"}
    assert http.post(f"{PATH}?beta=true", json=ASK | body, headers=headers).status_code == 200


def test_an_error_of_the_key_is_in_anthropics_form() -> None:
    with live(api_key="sesame") as server:
        with (
            anthropic.Anthropic(base_url=server.url, api_key="no", max_retries=0) as client,
            pytest.raises(anthropic.AuthenticationError),
        ):
            client.messages.create(**ASK)
        with anthropic.Anthropic(base_url=server.url, api_key="sesame") as client:
            assert client.messages.create(**ASK).stop_reason == "end_turn"


def test_too_much_at_once_is_a_429_that_clients_know() -> None:
    with live(max_queued_requests=1) as server:
        server.client.reset(TEXT, pause_after=1)
        with anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as client:
            streams = [client.messages.create(**ASK, stream=True) for _ in range(5)]
            with pytest.raises(anthropic.RateLimitError, match="under way"):
                client.messages.create(**ASK)
            server.client.go_on()
            for stream in streams:
                assert [event.type for event in stream][-1] == "message_stop"


@pytest.fixture(scope="module")
def tooled() -> Iterator[Live]:
    with live_with_tools() as server:
        yield server


@pytest.fixture
def tools_claude(tooled: Live) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=tooled.url, api_key="x", max_retries=0) as client:
        yield client


SAID = "<think>Hm.</think>Well:" + call("add", '{"a": 1}') + call("add", '{"a": 2}')


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_thoughts_text_and_uses_are_blocks(
    tooled: Live, tools_claude: anthropic.Anthropic, chunk: int
) -> None:
    tooled.client.reset(SAID, chunk=chunk)
    out = tools_claude.messages.create(**ASK | {"max_tokens": 200}, tools=[TOOL])
    thinking, text, first, second = out.content
    assert thinking.type == "thinking" and thinking.thinking == "Hm." and thinking.signature
    assert text.type == "text" and text.text == "Well:"
    assert first.type == "tool_use" and first.input == {"a": 1} and first.name == "add"
    assert second.type == "tool_use" and second.input == {"a": 2} and second.id != first.id
    assert out.stop_reason == "tool_use"
    details = out.usage.output_tokens_details
    assert details is not None and details.thinking_tokens == len("<think>Hm.</think>")
    with tools_claude.messages.stream(**ASK | {"max_tokens": 200}, tools=[TOOL]) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == [block.type for block in out.content]
    assert final.content[2].input == {"a": 1}  # type: ignore[union-attr]
    assert final.content[0].to_dict() == thinking.to_dict()
    assert final.stop_reason == "tool_use"


def test_results_go_back_to_the_model(tooled: Live, tools_claude: anthropic.Anthropic) -> None:
    tooled.client.reset(SAID)
    ask = ASK | {"max_tokens": 180, "tools": [TOOL]}
    out = tools_claude.messages.create(**ask)
    uses = [block for block in out.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "7"} for use in uses]
    messages = [
        *USER,
        {"role": "assistant", "content": out.content},
        {"role": "user", "content": results},
    ]
    tooled.client.reset("a")
    tools_claude.messages.create(**ask | {"messages": messages, "max_tokens": 5})
    shown = "".join(f"{use.id}:add{json.dumps(use.input)}" for use in uses)
    assert prompt_of(tooled) == (
        f"add;[user]Hi[assistant](Hm.)Well:{shown}[tool]7[tool]7[assistant]"
    )


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "add"}])
def test_a_use_can_be_forced(tooled: Live, tools_claude: anthropic.Anthropic, choice: Any) -> None:
    tooled.client.reset("</think>" + call("add", '{"a": 1}'))
    out = tools_claude.messages.create(**ASK, tools=[TOOL], tool_choice=choice)
    assert out.stop_reason == "tool_use"
    assert tooled.client.submits[-1].grammar is not None


def test_no_use_or_one_at_a_time(tooled: Live, tools_claude: anthropic.Anthropic) -> None:
    tooled.client.reset(SAID)
    ask = ASK | {"max_tokens": 180, "tools": [TOOL]}
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    out = tools_claude.messages.create(**ask, tool_choice=choice)
    assert [block.type for block in out.content] == ["thinking", "text", "tool_use"]
    out = tools_claude.messages.create(**ask, tool_choice={"type": "none"})
    assert out.stop_reason == "end_turn" and prompt_of(tooled) == "[user]Hi[assistant]"


@pytest.mark.parametrize(
    ("thinking", "shown", "types"),
    [
        (None, "", ["thinking", "text"]),
        ({"type": "adaptive"}, "True", ["thinking", "text"]),
        ({"type": "enabled", "budget_tokens": 1024}, "True", ["thinking", "text"]),
        ({"type": "adaptive", "display": "omitted"}, "True", ["text"]),
        ({"type": "disabled"}, "False", ["text"]),
    ],
)
def test_thinking_is_told_to_the_template(
    tooled: Live, tools_claude: anthropic.Anthropic, thinking: Any, shown: str, types: list[str]
) -> None:
    tooled.client.reset("<think>Hm.</think>Well.")
    more: Any = {} if thinking is None else {"thinking": thinking}
    if thinking and "budget_tokens" in thinking:
        with pytest.raises(anthropic.BadRequestError, match="less than max_tokens"):
            tools_claude.messages.create(**ASK, **more)
        counted = tools_claude.messages.count_tokens(model="fake", messages=USER, **more)
        assert counted.input_tokens == len("[user]Hi[assistant]True") + 1
        return
    out = tools_claude.messages.create(**ASK, **more)
    assert [block.type for block in out.content] == types
    assert prompt_of(tooled) == f"[user]Hi[assistant]{shown}"


def test_a_format_binds_the_answer(tooled: Live, tools_claude: anthropic.Anthropic) -> None:
    tooled.client.reset('</think>{"a":1}')
    schema = TOOL["input_schema"]
    config: Any = {"format": {"type": "json_schema", "schema": schema}, "effort": "low"}
    out = tools_claude.messages.create(**ASK, output_config=config)
    assert out.content[-1].text == '{"a":1}'  # type: ignore[union-attr]
    assert tooled.client.submits[-1].grammar is not None
    assert "low" in prompt_of(tooled)


def test_a_stop_of_the_template_is_the_end_of_the_turn(
    server: Live, claude: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.service.chat_template, "stops", (" that",))
    out = claude.messages.create(**ASK, stop_sequences=["zzz"])
    assert out.content[0].text == "The text"  # type: ignore[union-attr]
    assert (out.stop_reason, out.stop_sequence) == ("end_turn", None)

"""/v1/responses by the real openai client and by hand, whole, streamed, and in the background."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.front.fakes import logprob_of
from tests.server.live import TEXT, Live
from tests.server.tool_template import call, live_with_tools

PATH = "/v1/responses"
TOOL: Any = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}


def prompt_of(server: Live) -> str:
    return bytes(server.client.submits[-1].prompt_ids.tolist()[1:]).decode()


def events_of(answer: httpx.Response) -> list[Any]:
    """The events of a stream, each under the name that is its type, numbered from 0."""
    parts = answer.text.split("\n\n")
    assert parts.pop() == ""
    events = []
    for part in parts:
        name, data = part.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def ended(ai: openai.OpenAI, response_id: str) -> Any:
    """A response, when it is over."""
    deadline = time.monotonic() + 5
    while (found := ai.responses.retrieve(response_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def test_a_response_is_the_text_and_what_was_asked(server: Live, ai: openai.OpenAI) -> None:
    out = ai.responses.create(
        model="fake", input="Hi", instructions="Be brief.", metadata={"a": "b"}, temperature=0.5
    )
    assert (out.object, out.status, out.model, out.error) == ("response", "completed", "fake", None)
    assert out.output_text == TEXT
    assert (out.instructions, out.metadata, out.temperature) == ("Be brief.", {"a": "b"}, 0.5)
    assert out.completed_at is not None and out.completed_at >= out.created_at
    assert out.usage is not None
    assert out.usage.output_tokens == len(TEXT.encode()) + 1
    assert out.usage.input_tokens == len("[system]Be brief.[user]Hi[assistant]") + 1
    assert out.usage.total_tokens == out.usage.input_tokens + out.usage.output_tokens
    assert prompt_of(server) == "[system]Be brief.[user]Hi[assistant]"
    assert out.id.startswith("resp_") and out.output[0].id.startswith("msg_")


def test_what_is_cut_off_is_incomplete(ai: openai.OpenAI) -> None:
    out = ai.responses.create(model="fake", input="Hi", max_output_tokens=3)
    assert out.status == "incomplete" and out.completed_at is None
    assert out.incomplete_details is not None
    assert out.incomplete_details.reason == "max_output_tokens"
    assert out.output_text == "The" and out.output[0].status == "incomplete"  # type: ignore[union-attr]


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_a_stream_tells_what_the_whole_says(server: Live, http: httpx.Client, chunk: int) -> None:
    server.client.reset(TEXT, chunk=chunk)
    events = events_of(http.post(PATH, json={"input": "Hi", "stream": True}))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    types = [event["type"].removeprefix("response.") for event in events]
    assert types[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert types[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(types[4:-4]) == {"output_text.delta"}
    assert "".join(event["delta"] for event in events[4:-4]) == TEXT
    first, last = events[0]["response"], events[-1]["response"]
    assert (first["status"], first["usage"], first["output"]) == ("in_progress", None, [])
    assert last["output"] == [events[-2]["item"]]
    assert http.get(f"{PATH}/{last['id']}").json() == last


def test_the_client_puts_a_stream_together(ai: openai.OpenAI) -> None:
    with ai.responses.stream(model="fake", input="Hi") as stream:
        names = [event.type for event in stream]
        assert stream.get_final_response().output_text == TEXT
    assert names[0] == "response.created" and names[-1] == "response.completed"


def test_a_conversation_goes_on_from_a_response(server: Live, ai: openai.OpenAI) -> None:
    server.client.reset("Yes.")
    first = ai.responses.create(model="fake", input="Hi", instructions="A")
    second = ai.responses.create(model="fake", input="b", previous_response_id=first.id)
    third = ai.responses.create(
        model="fake", input="c", previous_response_id=second.id, instructions="Z"
    )
    said = "[user]Hi[assistant]Yes.[user]b[assistant]Yes."
    assert prompt_of(server) == f"[system]Z{said}[user]c[assistant]"
    assert third.previous_response_id == second.id
    ai.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        ai.responses.create(model="fake", input="d", previous_response_id=third.id)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


def test_a_stream_can_be_gone_on_from_when_its_end_is_told(server: Live, ai: openai.OpenAI) -> None:
    server.client.reset("Yes.")
    for event in ai.responses.create(model="fake", input="Hi", stream=True):
        if event.type == "response.completed":
            ai.responses.create(model="fake", input="b", previous_response_id=event.response.id)
    assert prompt_of(server) == "[user]Hi[assistant]Yes.[user]b[assistant]"


def test_what_is_not_to_be_stored_is_not(ai: openai.OpenAI) -> None:
    out = ai.responses.create(model="fake", input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(out.id)
    with pytest.raises(openai.BadRequestError):
        ai.responses.create(model="fake", input="b", previous_response_id=out.id)


def test_a_response_is_read_and_deleted(ai: openai.OpenAI) -> None:
    out = ai.responses.create(model="fake", input="Hi")
    assert ai.responses.retrieve(out.id).to_dict() == out.to_dict()
    ai.responses.delete(out.id)
    for ask in (ai.responses.retrieve, ai.responses.delete, ai.responses.cancel):
        with pytest.raises(openai.NotFoundError, match="There is no response"):
            ask(out.id)
    with pytest.raises(openai.NotFoundError):
        ai.responses.input_items.list(out.id)


def test_input_items_come_in_pages(ai: openai.OpenAI) -> None:
    given: Any = [{"role": "user", "content": text} for text in "abc"]
    out = ai.responses.create(model="fake", input=given, max_output_tokens=1)
    listed = ai.responses.input_items.list(out.id, limit=2)
    assert listed.has_more  # type: ignore[attr-defined]
    texts = [item.content[0].text for item in listed]  # type: ignore[union-attr, index]
    assert texts == ["c", "b", "a"]
    forward = ai.responses.input_items.list(out.id, order="asc").data
    assert [item.content[0].text for item in forward] == ["a", "b", "c"]  # type: ignore[union-attr, index]
    again: Any = [{"type": "item_reference", "id": forward[1].id}]
    other = ai.responses.create(model="fake", input=again, max_output_tokens=1)
    (item,) = ai.responses.input_items.list(other.id).data
    assert item.content[0].text == "b"  # type: ignore[union-attr, index]


def test_a_response_in_the_background_runs_without_its_client(
    server: Live, ai: openai.OpenAI
) -> None:
    server.client.reset(TEXT, pause_after=3)
    out = ai.responses.create(model="fake", input="Hi", background=True)
    assert (out.status, out.output, out.background) == ("queued", [], True)
    server.wait_until(lambda: ai.responses.retrieve(out.id).status == "in_progress", "a beginning")
    with pytest.raises(openai.BadRequestError, match="has not ended"):
        ai.responses.create(model="fake", input="b", previous_response_id=out.id)
    server.client.go_on()
    done = ended(ai, out.id)
    assert (done.status, done.output_text) == ("completed", TEXT)
    assert ai.responses.cancel(out.id).status == "completed"


def test_a_response_in_the_background_is_cancelled(server: Live, ai: openai.OpenAI) -> None:
    server.client.reset(TEXT, pause_after=3)
    out = ai.responses.create(model="fake", input="Hi", background=True)
    server.wait_for_requests(1)
    assert ai.responses.cancel(out.id).status == "cancelled"
    assert ai.responses.cancel(out.id).status == "cancelled"
    assert ai.responses.retrieve(out.id).status == "cancelled"
    server.wait_until(lambda: len(server.client.aborted) == 1, "an abort")


def test_only_the_background_can_be_cancelled(ai: openai.OpenAI) -> None:
    out = ai.responses.create(model="fake", input="Hi")
    with pytest.raises(openai.BadRequestError, match="made with background"):
        ai.responses.cancel(out.id)


def test_deleting_ends_what_runs(server: Live, ai: openai.OpenAI) -> None:
    server.client.reset(TEXT, pause_after=3)
    out = ai.responses.create(model="fake", input="Hi", background=True)
    server.wait_for_requests(1)
    ai.responses.delete(out.id)
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(out.id)
    server.wait_until(lambda: not server.client.live, "an end")


def test_a_stream_in_the_background_is_read_again_from_anywhere(
    server: Live, http: httpx.Client
) -> None:
    server.client.reset(TEXT, pause_after=3)
    body = {"input": "Hi", "stream": True, "background": True}
    with http.stream("POST", PATH, json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        response_id = json.loads(next(lines).removeprefix("data: "))["response"]["id"]
    server.client.go_on()
    events = events_of(http.get(f"{PATH}/{response_id}", params={"stream": True}))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    assert events[-1]["response"]["status"] == "completed"
    assert http.get(f"{PATH}/{response_id}").json() == events[-1]["response"]
    later = http.get(f"{PATH}/{response_id}", params={"stream": True, "starting_after": 5})
    assert events_of(later) == events[6:]


def test_who_reads_a_cancelled_stream_is_told(server: Live, http: httpx.Client) -> None:
    server.client.reset(TEXT, pause_after=3)
    body = {"input": "Hi", "stream": True, "background": True}
    with http.stream("POST", PATH, json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        response_id = json.loads(next(lines).removeprefix("data: "))["response"]["id"]
        while "delta" not in next(lines):
            pass
        http.post(f"{PATH}/{response_id}/cancel")
        last = [line for line in lines if line][-1]
    told = json.loads(last.removeprefix("data: "))
    assert (told["type"], told["response"]["status"]) == ("response.failed", "cancelled")
    assert told["response"]["output"][0]["status"] == "incomplete"
    replayed = events_of(http.get(f"{PATH}/{response_id}", params={"stream": True}))
    assert replayed[-1] == told


def test_only_streams_in_the_background_are_read_again(http: httpx.Client) -> None:
    out = http.post(PATH, json={"input": "Hi"}).json()
    answer = http.get(f"{PATH}/{out['id']}", params={"stream": True})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "stream"


def test_a_failure_of_the_engine_is_told(server: Live, ai: openai.OpenAI) -> None:
    server.client.fails = True
    with pytest.raises(openai.InternalServerError, match="NaN"):
        ai.responses.create(model="fake", input="Hi")
    *_, last = ai.responses.create(model="fake", input="Hi", stream=True)
    assert last.type == "response.failed" and last.response.status == "failed"
    assert last.response.error is not None
    assert (last.response.error.code, last.response.error.message) == ("server_error", "NaN")
    out = ended(ai, ai.responses.create(model="fake", input="Hi", background=True).id)
    assert out.status == "failed" and out.error.message == "NaN"


def test_a_client_that_goes_away_ends_its_stream(server: Live, http: httpx.Client) -> None:
    server.client.reset(TEXT, pause_after=3)
    with http.stream("POST", PATH, json={"input": "Hi", "stream": True}) as answer:
        next(answer.iter_lines())
    server.wait_until(lambda: len(server.client.aborted) == 1, "an abort")


def test_logprobs_are_included_where_asked(ai: openai.OpenAI) -> None:
    include: Any = ["message.output_text.logprobs"]
    how: Any = {"model": "fake", "input": "Hi", "include": include, "top_logprobs": 2}
    out = ai.responses.create(**how)
    entries = out.output[0].content[0].logprobs  # type: ignore[union-attr]
    assert b"".join(bytes(entry.bytes) for entry in entries) == f"{TEXT}</s>".encode()
    assert entries[0].logprob == logprob_of(ord("T"))
    assert [top.token for top in entries[0].top_logprobs] == ["\0", "\x01"]
    streamed = [
        entry.token
        for event in ai.responses.create(**how, stream=True)
        if event.type == "response.output_text.delta"
        for entry in event.logprobs
    ]
    assert streamed == [entry.token for entry in entries]
    assert out.top_logprobs == 2


def test_sampling_parameters_reach_the_engine(server: Live, http: httpx.Client) -> None:
    body = {"temperature": 0.3, "top_p": 0.4, "top_k": 5, "min_p": 0.1, "seed": 7, "stop": "zzz"}
    assert http.post(PATH, json={"input": "Hi", **body}).status_code == 200
    params = server.client.submits[-1].params
    assert (params.temperature, params.top_p, params.top_k) == (0.3, 0.4, 5)
    assert (params.min_p, params.seed, params.stop) == (0.1, 7, ("zzz",))


def test_what_means_nothing_here_is_accepted(http: httpx.Client) -> None:
    body = {
        "input": "Hi",
        "user": "me",
        "service_tier": "auto",
        "prompt_cache_key": "x",
        "max_tool_calls": 3,
        "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
        "truncation": "disabled",
        "reasoning": {"summary": "auto"},
        "text": {"verbosity": "low", "format": {"type": "text"}},
        "tools": [],
        "tool_choice": "auto",
        "conversation": None,
        "stream_options": {"include_obfuscation": False},
        "stream": True,
    }
    assert http.post(PATH, json=body).status_code == 200


@pytest.fixture(scope="module")
def tooled() -> Iterator[Live]:
    with live_with_tools() as server:
        yield server


@pytest.fixture
def tools_ai(tooled: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tooled.url}/v1", api_key="any", max_retries=0) as client:
        yield client


SAID = "<think>Hm.</think>Well:" + call("add", '{"a": 1}') + call("add", '{"a": 2}')


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_thoughts_text_and_calls_are_items(
    tooled: Live, tools_ai: openai.OpenAI, chunk: int
) -> None:
    tooled.client.reset(SAID, chunk=chunk)
    out = tools_ai.responses.create(model="fake", input="Hi", tools=[TOOL])
    thoughts, message, first, second = out.output
    assert thoughts.content[0].text == "Hm."  # type: ignore[union-attr, index]
    assert message.content[0].text == "Well:"  # type: ignore[union-attr, index]
    assert json.loads(first.arguments) == {"a": 1}  # type: ignore[union-attr]
    assert json.loads(second.arguments) == {"a": 2}  # type: ignore[union-attr]
    assert first.call_id != second.call_id and first.name == "add"  # type: ignore[union-attr]
    assert out.status == "completed" and out.usage is not None
    assert out.usage.output_tokens_details.reasoning_tokens == len("<think>Hm.</think>")
    with tools_ai.responses.stream(model="fake", input="Hi", tools=[TOOL]) as stream:
        names = {event.type for event in stream}
        final = stream.get_final_response()
    forms = [item.to_dict() for item in final.output]
    assert [form["type"] for form in forms] == [item.type for item in out.output]
    assert forms[2]["arguments"] == first.arguments  # type: ignore[union-attr]
    assert {"response.reasoning_text.delta", "response.function_call_arguments.done"} <= names


def test_the_outputs_of_calls_are_shown_to_the_model(tooled: Live, tools_ai: openai.OpenAI) -> None:
    tooled.client.reset(SAID)
    out = tools_ai.responses.create(model="fake", input="Hi", tools=[TOOL])
    calls = [item for item in out.output if item.type == "function_call"]
    outputs: Any = [
        {"type": "function_call_output", "call_id": each.call_id, "output": str(at)}
        for at, each in enumerate(calls)
    ]
    tools_ai.responses.create(
        model="fake", input=outputs, tools=[TOOL], previous_response_id=out.id
    )
    after = prompt_of(tooled)
    shown = "".join(f"{each.call_id}:add{each.arguments}" for each in calls)
    assert after == f"add;[user]Hi[assistant](Hm.)Well:{shown}[tool]0[tool]1[assistant]"
    again: Any = [{"role": "user", "content": "Hi"}, *[each.to_dict() for each in out.output]]
    tools_ai.responses.create(model="fake", input=again + outputs, tools=[TOOL], store=False)
    assert prompt_of(tooled) == after


def test_tool_choice_names_or_allows_tools(tooled: Live, tools_ai: openai.OpenAI) -> None:
    tooled.client.reset("Hm.</think>" + call("add", '{"a": 1}'))
    other = TOOL | {"name": "sub"}
    both: Any = [TOOL, other]
    named: Any = {"type": "function", "name": "add"}
    allowed: Any = {"type": "allowed_tools", "mode": "required", "tools": [named]}
    for choice in (named, allowed, "required"):
        out = tools_ai.responses.create(model="fake", input="Hi", tools=both, tool_choice=choice)
        assert [item.type for item in out.output] == ["reasoning", "function_call"]
        assert tooled.client.submits[-1].grammar is not None
    out = tools_ai.responses.create(model="fake", input="Hi", tools=both, tool_choice=allowed)
    assert out.to_dict()["tool_choice"] == allowed
    assert prompt_of(tooled).startswith("add;[user]")
    tools_ai.responses.create(model="fake", input="Hi", tools=both, tool_choice="none")
    assert tooled.client.submits[-1].grammar is None


def test_effort_is_shown_to_the_template(tooled: Live, tools_ai: openai.OpenAI) -> None:
    tooled.client.reset("a")
    tools_ai.responses.create(model="fake", input="Hi", reasoning={"effort": "low"})
    assert prompt_of(tooled) == "[user]Hi[assistant]low"
    tools_ai.responses.create(model="fake", input="Hi", reasoning={"effort": "none"})
    assert prompt_of(tooled) == "[user]Hi[assistant]Falsenone"


def test_input_tokens_are_counted_as_the_engine_reads_them(server: Live, ai: openai.OpenAI) -> None:
    first = ai.responses.create(model="fake", input="Hi", max_output_tokens=3)
    how: Any = {"model": "fake", "input": "More?", "previous_response_id": first.id}
    num_asked = len(server.client.submits)
    counted = ai.responses.input_tokens.count(**how, instructions="Be brief.")
    assert len(server.client.submits) == num_asked
    out = ai.responses.create(**how, instructions="Be brief.")
    assert out.usage is not None and counted.input_tokens == out.usage.input_tokens
    assert counted.object == "response.input_tokens"

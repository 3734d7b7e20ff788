"""/v1/batches by the real openai client: requests in a file, answers in a file."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import Batch
from sgjax_server.batches import lines, registry, run
from sgjax_server.batches.errors import StorageFailed
from sgjax_server.batches.new_file import NewFile

from tests.server.live import TEXT, Live, live

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def nothing_stays(shared_server: Live) -> Iterator[None]:
    """Every batch has ended, and files can all be deleted."""
    yield
    service = shared_server.service
    shared_server.wait_until(lambda: not service.batches._tasks, "the ends of batches")
    assert service.batches._gate._num_inside == 0
    for file in service.files.list():
        service.files.delete(file.id)
    assert service.files._num_bytes == service.files._num_parts == 0


def request(custom_id: str, url: str = CHAT, method: str = "POST", **body: Any) -> dict[str, Any]:
    said = {"messages": USER} if url == CHAT else {"prompt": "a"}
    return {"custom_id": custom_id, "method": method, "url": url, "body": said | body}


def start(ai: openai.OpenAI, requests: Any, endpoint: Any = CHAT, **more: Any) -> Batch:
    content = requests
    if not isinstance(requests, bytes):
        content = b"".join(json.dumps(each).encode() + b"\n" for each in requests)
    file = ai.files.create(file=("in.jsonl", content), purpose="batch")
    return ai.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more
    )


def ended(ai: openai.OpenAI, batch: Batch) -> Batch:
    deadline = time.monotonic() + 10
    while (found := ai.batches.retrieve(batch.id)).status not in (
        "completed",
        "failed",
        "cancelled",
        "expired",
    ):
        assert time.monotonic() < deadline, found
        time.sleep(0.005)
    return found


def answers(ai: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    """The lines of an output by custom_id."""
    assert file_id is not None
    found = [json.loads(line) for line in ai.files.content(file_id).iter_lines()]
    assert len({line["id"] for line in found}) == len(found)
    return {line["custom_id"]: line for line in found}


@pytest.mark.parametrize(("endpoint", "limit"), [(CHAT, 3), (COMPLETIONS, 5)])
def test_each_line_gets_what_its_route_answers(
    ai: openai.OpenAI, endpoint: str, limit: int
) -> None:
    requests = [request(f"r{i}", endpoint, max_tokens=limit, seed=i) for i in range(20)]
    batch = start(ai, requests, endpoint, metadata={"a": "b"})
    assert (batch.status, batch.object, batch.endpoint) == ("validating", "batch", endpoint)
    assert batch.expires_at == batch.created_at + 24 * 3600 and batch.metadata == {"a": "b"}
    batch = ended(ai, batch)
    assert batch.status == "completed" and batch.error_file_id is None and batch.errors is None
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 20, "completed": 20, "failed": 0}
    assert batch.usage is not None and batch.usage.output_tokens == 20 * limit
    times = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert times == sorted(times)  # type: ignore[type-var]
    found = answers(ai, batch.output_file_id)
    assert set(found) == {f"r{i}" for i in range(20)}
    for i in range(20):
        line = found[f"r{i}"]
        assert line["error"] is None and line["response"]["status_code"] == 200
        assert line["response"]["body"]["usage"]["completion_tokens"] == limit
    output = ai.files.retrieve(batch.output_file_id or "")
    assert output.purpose == "batch_output" and output.filename == f"{batch.id}_output.jsonl"


def test_answers_are_those_of_single_requests(ai: openai.OpenAI) -> None:
    batch = ended(ai, start(ai, [request(f"{i}", seed=i, max_tokens=4) for i in range(9)]))
    found = answers(ai, batch.output_file_id)
    for i in range(9):
        how: Any = {"model": "default", "messages": USER, "seed": i, "max_tokens": 4}
        single = ai.chat.completions.create(**how)
        body = found[f"{i}"]["response"]["body"]
        assert body["choices"][0]["message"]["content"] == single.choices[0].message.content


def test_a_line_that_is_refused_is_in_the_error_file_and_the_others_go_on(
    ai: openai.OpenAI,
) -> None:
    bad = {
        "temperature": request("temperature", temperature=-1),
        "model": request("model", model="gpt-4"),
        "long": request("long", messages=[{"role": "user", "content": "x" * 300}]),
        "empty": {**request("empty"), "body": {}},
    }
    batch = ended(ai, start(ai, [request("good"), *bad.values(), request("also good")]))
    assert batch.status == "completed" and batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 6, "completed": 2, "failed": 4}
    assert set(answers(ai, batch.output_file_id)) == {"good", "also good"}
    errors = answers(ai, batch.error_file_id)
    assert set(errors) == set(bad)
    said = {name: line["response"] for name, line in errors.items()}
    assert {name: each["status_code"] for name, each in said.items()} == {
        "temperature": 400,
        "model": 404,
        "long": 400,
        "empty": 400,
    }
    assert said["temperature"]["body"]["error"]["param"] == "temperature"
    assert said["long"]["body"]["error"]["code"] == "context_length_exceeded"


GOOD = json.dumps(request("good")).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "line", "code", "says"),
    [
        (b"", None, "empty_file", "no requests"),
        (b"\n \n", None, "empty_file", "no requests"),
        (GOOD + b"{not json\n", 2, "invalid_json_line", "JSON"),
        (GOOD + b"\n\xff\n", 3, "invalid_json_line", "JSON"),
        (b"[" * 100_000, 1, "invalid_request", "object"),
        (b'{"custom_id":"a","method":"POST","url":"%s","body":' % CHAT.encode()
         + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, 1, "invalid_json_line", ""),
        (b"[]", 1, "invalid_request", "object"),
        (GOOD + b"{}", 2, "invalid_request", "custom_id"),
        (json.dumps(request("")).encode(), 1, "invalid_request", "custom_id"),
        (json.dumps(request("x" * 600)).encode(), 1, "invalid_request", "custom_id"),
        (json.dumps(request("a", method="GET")).encode(), 1, "invalid_request", "method"),
        (json.dumps(request("a", url="/v1/files")).encode(), 1, "mismatched_endpoint", CHAT),
        (json.dumps(request("a", stream=True)).encode(), 1, "invalid_request", "stream"),
        (b'{"custom_id":"a","method":"POST","url":"%s","body":7}' % CHAT.encode(),
         1, "invalid_request", "body"),
        (GOOD + GOOD, 2, "duplicate_custom_id", "good"),
        (b" " * (lines.MAX_LINE_BYTES - 5) + GOOD, 1, "line_too_long", "32 MiB"),
    ],
    ids=range(16),
)  # fmt: skip
def test_a_file_that_is_no_batch_fails_whole_and_says_where(
    server: Live, ai: openai.OpenAI, content: bytes, line: int | None, code: str, says: str
) -> None:
    batch = ended(ai, start(ai, content))
    assert batch.status == "failed" and batch.failed_at is not None
    assert batch.errors is not None and batch.errors.data is not None
    (error,) = batch.errors.data
    assert (error.line, error.code) == (line, code) and says in (error.message or "")
    assert batch.output_file_id is None and batch.error_file_id is None
    assert not server.client.submits


def test_all_lines_at_fault_are_told_up_to_a_bound(ai: openai.OpenAI) -> None:
    batch = ended(ai, start(ai, b"{\n" * 500))
    assert batch.errors is not None and batch.errors.data is not None
    assert [error.line for error in batch.errors.data] == list(range(1, 101))


def test_a_file_of_too_many_requests_fails(ai: openai.OpenAI, monkeypatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    assert ended(ai, start(ai, [request(f"{i}") for i in range(3)])).status == "completed"
    batch = ended(ai, start(ai, [request(f"{i}") for i in range(4)]))
    assert batch.errors is not None and batch.errors.data is not None
    assert [error.code for error in batch.errors.data] == ["too_many_requests"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_file_id", "file-none"),
        ("input_file_id", "../lock"),
        ("input_file_id", None),
        ("endpoint", "/v1/files"),
        ("endpoint", None),
        ("completion_window", "1h"),
        ("metadata", {"a": 1}),
        ("metadata", {"a" * 65: "b"}),
        ("metadata", {str(i): "b" for i in range(17)}),
        ("output_expires_after", {"anchor": "created_at", "seconds": 5}),
    ],
)
def test_a_bad_batch_is_refused(ai: openai.OpenAI, field: str, value: Any) -> None:
    file = ai.files.create(file=GOOD, purpose="batch")
    body: Any = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    with pytest.raises(openai.BadRequestError) as caught:
        ai.batches.create(**body | {field: value})
    assert caught.value.param == field


def test_only_a_file_for_batches_starts_one(ai: openai.OpenAI, monkeypatch) -> None:
    body: Any = {"endpoint": CHAT, "completion_window": "24h"}
    with pytest.raises(openai.BadRequestError, match="purpose"):
        file = ai.files.create(file=GOOD, purpose="user_data")
        ai.batches.create(input_file_id=file.id, **body)
    monkeypatch.setattr(registry, "MAX_INPUT_BYTES", 10)
    with pytest.raises(openai.BadRequestError, match="at most 10"):
        file = ai.files.create(file=GOOD, purpose="batch")
        ai.batches.create(input_file_id=file.id, **body)


def test_an_unknown_batch_is_not_found(ai: openai.OpenAI) -> None:
    for call in (ai.batches.retrieve, ai.batches.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            call("batch_none")
        assert caught.value.code == "not_found"


def test_lists_have_the_newest_first(ai: openai.OpenAI) -> None:
    ids = [ended(ai, start(ai, GOOD)).id for _ in range(3)]
    assert [batch.id for batch in ai.batches.list(limit=2).data] == ids[:0:-1]
    assert [batch.id for batch in ai.batches.list(after=ids[1], limit=1).data] == ids[:1]
    assert [batch.id for batch in ai.batches.list(limit=2)][:3] == ids[::-1]


def test_a_cancelled_batch_keeps_what_was_answered(server: Live, ai: openai.OpenAI) -> None:
    """Two at a time run: of the first two one ends, and all others wait."""
    requests = [request("quick", max_tokens=1), *(request(f"{i}") for i in range(5))]
    server.client.reset(TEXT, pause_after=2)
    batch = start(ai, requests)
    server.wait_until(
        lambda: len(server.client.live) == 2 and len(server.client.submits) == 3, "two at a time"
    )
    running = ai.batches.retrieve(batch.id)
    assert running.status == "in_progress" and running.request_counts is not None
    assert running.request_counts.to_dict() == {"total": 6, "completed": 1, "failed": 0}
    assert ai.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = ended(ai, batch)
    assert batch.status == "cancelled" and batch.cancelled_at and batch.cancelling_at
    assert set(answers(ai, batch.output_file_id)) == {"quick"}
    rest = answers(ai, batch.error_file_id)
    assert list(rest) == [f"{i}" for i in range(5)]
    assert {line["error"]["code"] for line in rest.values()} == {"batch_cancelled"}
    assert all(line["response"] is None for line in rest.values())
    server.wait_for_quiet()
    with pytest.raises(openai.BadRequestError, match="is cancelled and can no longer"):
        ai.batches.cancel(batch.id)


def test_a_batch_that_takes_too_long_expires(server: Live, ai: openai.OpenAI, monkeypatch) -> None:
    monkeypatch.setattr(server.service.batches, "_window_s", 0.05)
    server.client.reset(TEXT, pause_after=2)
    batch = ended(ai, start(ai, [request("quick", max_tokens=1), request("slow")]))
    assert batch.status == "expired" and batch.expired_at
    assert set(answers(ai, batch.output_file_id)) == {"quick"}
    assert answers(ai, batch.error_file_id)["slow"]["error"]["code"] == "batch_expired"


def test_a_batch_leaves_room_for_who_waits(server: Live, ai: openai.OpenAI) -> None:
    """Of four at a time a batch takes two; while others want all four, one."""
    server.client.reset(TEXT, pause_after=2)
    batch = start(ai, [request(f"{i}") for i in range(8)])
    server.wait_for_requests(2)
    streams = [
        ai.chat.completions.create(model="default", messages=USER, stream=True)  # type: ignore[arg-type]
        for _ in range(4)
    ]
    server.wait_for_requests(6)
    of_batch = [submit.rid for submit in server.client.submits][:2]
    server.client.live[of_batch[0]].set()
    server.wait_until(lambda: of_batch[0] not in server.client.live, "an end")
    time.sleep(0.12)  # longer than the gate looks away
    assert len(server.client.submits) == 6, "none starts beside the one that runs"
    server.client.live[of_batch[1]].set()
    server.wait_until(lambda: len(server.client.submits) == 7, "one runs in any case")
    server.client.pause_after = None
    server.client.go_on()
    for stream in streams:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == TEXT
    assert ended(ai, batch).status == "completed"


def test_a_full_queue_is_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(run, "_RETRY_S", 0.01)
    with live(max_queued_requests=1) as server:
        ai = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x")
        server.client.reset(TEXT, pause_after=2)
        ledger = server.service.generator._ledger
        ledger.take(5)
        batch = start(ai, [request("a"), request("b")])
        server.wait_until(lambda: server.service.batches._gate._num_inside, "a beginning")
        time.sleep(0.1)
        ledger.give(5)
        server.client.pause_after = None
        assert ended(ai, batch).request_counts.completed == 2  # type: ignore[union-attr]
        assert server.service.files._num_parts == 0


def test_batches_take_turns(server: Live, ai: openai.OpenAI) -> None:
    server.client.reset(TEXT, pause_after=2)
    long = start(ai, [request(f"{i}") for i in range(40)])
    server.wait_for_requests(2)
    short = start(ai, [request("a"), request("b")])
    time.sleep(0.05)
    server.client.pause_after = None
    server.client.go_on()
    found = ended(ai, short)
    at_that_time = ai.batches.retrieve(long.id).request_counts
    assert found.status == "completed"
    assert at_that_time is not None and at_that_time.completed < 40
    assert ended(ai, long).status == "completed"


def test_a_disk_that_is_full_ends_a_batch_and_nothing_else(
    server: Live, ai: openai.OpenAI, monkeypatch
) -> None:
    async def fails(self: NewFile, data: bytes) -> None:
        raise StorageFailed(OSError(28, "No space left on device"))

    file = ai.files.create(file=GOOD, purpose="batch")
    with monkeypatch.context() as patch:
        patch.setattr(NewFile, "write", fails)
        batch = ended(
            ai,
            ai.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h"),
        )
    assert batch.status == "failed" and batch.errors is not None and batch.errors.data is not None
    assert batch.errors.data[0].code == "storage_failed"
    assert "No space left" in (batch.errors.data[0].message or "")
    assert [each.id for each in ai.files.list()] == [file.id]
    assert ended(ai, start(ai, GOOD)).status == "completed"


def test_output_may_expire_by_itself(ai: openai.OpenAI) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    batch = ended(ai, start(ai, GOOD, output_expires_after=expiry))
    file = ai.files.retrieve(batch.output_file_id or "")
    assert file.expires_at == file.created_at + 3600


def test_the_input_may_be_deleted_meanwhile(ai: openai.OpenAI) -> None:
    batch = start(ai, [request(f"{i}") for i in range(30)])
    ai.files.delete(batch.input_file_id)
    assert ended(ai, batch).request_counts.completed == 30  # type: ignore[union-attr]


def test_old_batches_are_forgotten_and_live_ones_bounded(
    server: Live, ai: openai.OpenAI, monkeypatch
) -> None:
    monkeypatch.setattr(registry, "MAX_BATCHES", len(server.service.batches._runs) + 2)
    oldest = ai.batches.list(limit=100).data[-1:] or [ended(ai, start(ai, GOOD))]
    for _ in range(4):
        ended(ai, start(ai, GOOD))
    with pytest.raises(openai.NotFoundError):
        ai.batches.retrieve(oldest[0].id)
    monkeypatch.setattr(registry, "MAX_LIVE", 1)
    server.client.reset(TEXT, pause_after=2)
    running = start(ai, GOOD)
    with pytest.raises(openai.RateLimitError):
        start(ai, GOOD)
    ai.batches.cancel(running.id)


def test_the_key_is_known_to_batches() -> None:
    with (
        live(api_key="sesame") as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="sesame") as ai,
    ):
        assert ended(ai, start(ai, GOOD)).request_counts.completed == 1  # type: ignore[union-attr]


def test_a_server_that_stops_cancels_its_batches(tmp_path, no_leaks) -> None:
    folder = str(tmp_path)
    with live(file_storage_path=folder) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x") as ai:
            server.client.reset(TEXT, pause_after=2)
            batch = start(ai, [request("quick", max_tokens=1), request("slow")])
            server.wait_until(lambda: len(server.client.submits) == 2, "both")
        kept = server.service.batches.get(batch.id)
        server.client.pause_after = None
        asyncio.run_coroutine_threadsafe(
            server.service.batches.stop(), server.app.state.loop
        ).result(5)
    assert kept.status == "cancelled"
    with (
        live(file_storage_path=folder) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="x") as ai,
    ):
        assert set(answers(ai, kept.output_file_id)) == {"quick"}
        assert set(answers(ai, kept.error_file_id)) == {"slow"}


def test_the_asynchronous_client_is_served_too(server: Live) -> None:
    async def work() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x") as ai:
            file = await ai.files.create(file=("a.jsonl", GOOD), purpose="batch")
            batch = await ai.batches.create(
                input_file_id=file.id, endpoint=CHAT, completion_window="24h"
            )
            while (batch := await ai.batches.retrieve(batch.id)).status != "completed":
                await asyncio.sleep(0.005)
            content = await ai.files.content(batch.output_file_id or "")
            assert json.loads(content.text)["response"]["status_code"] == 200

    asyncio.run(asyncio.wait_for(work(), 10))

"""Requests made from the OpenAPI document, to a server with the built-in model: answers are as the
document says, nothing fails, and nothing is left behind.

make soak    # ten times as many
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from sgjax_server.app import create_app
from sgjax_server.openapi import document

from sgjax.config import ServeConfig
from sgjax.engine.local_client import LocalClient
from sgjax.front.files import chat_template_of, tokenizer_of
from tests.front.fakes import FakeEngineClient, byte_tokenizer, chat_template
from tests.server.live import serving, wait_until

# A context of few tokens, so that whatever is asked for ends soon.
OPTIONS: Any = {
    "context_length": 48,
    "max_total_tokens": 2048,
    "page_size": 4,
    "max_running_requests": 16,
    "chunked_prefill_size": 64,
    "max_queued_requests": 16,
}
CASES, CASES_WITHOUT_BODY = 60, 14
"""Of an operation, in the profile ci."""

load_all_checks()
NAMES = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
]
CHECKED = [CHECKS.get_one(name) for name in NAMES]


def offline() -> Any:
    """The document, without a server."""
    app = create_app(
        FakeEngineClient(), ServeConfig(model_path="demo"), byte_tokenizer(), chat_template()
    )
    return document(app, has_key=False)


DOCUMENT = offline()
OPERATIONS = {
    operation.label: operation
    for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    for operation in [found.ok()]
}


class Server:
    def __init__(self, url: str, service: Any):
        self.url = url
        self.service = service
        self.session = requests.Session()
        self.num_cases = 0
        self.labels: set[str] = set()

    def known(self) -> dict[str, str]:
        """Names of objects that are there."""
        body = {"model": "demo", "prompt": "a", "max_tokens": 1}
        line = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body}
        file_id = self.upload(json.dumps(line).encode())
        asked = {"input_file_id": file_id, "endpoint": line["url"], "completion_window": "24h"}
        batch = self.session.post(f"{self.url}/v1/batches", json=asked)
        response = self.session.post(f"{self.url}/v1/responses", json={"input": "a"})
        ids = {"file_id": file_id, "batch_id": batch.json()["id"]}
        return ids | {"response_id": response.json()["id"], "name": "demo"}

    def upload(self, content: bytes) -> str:
        files: Any = {"file": ("in.jsonl", content)}
        answer = self.session.post(f"{self.url}/v1/files", files=files, data={"purpose": "batch"})
        return answer.json()["id"]

    def stats(self) -> dict[str, int]:
        return self.session.get(f"{self.url}/get_server_info").json()["stats"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    config = ServeConfig(model_path="demo", **OPTIONS)
    client = LocalClient.start(config)
    app = create_app(client, config, tokenizer_of(config), chat_template_of(config))
    with serving(app) as url:
        found = Server(url, app.state.service)
        yield found
        found.session.close()
        closing = asyncio.run_coroutine_threadsafe(client.close(), app.state.loop)
        closing.result(30)


# schemathesis does that, and says so in a warning.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("label", list(OPERATIONS))
def test_an_operation_answers_as_the_document_says(server: Server, label: str) -> None:
    operation = OPERATIONS[label]
    server.labels.add(label)
    cases = st.one_of(strategies(operation, server.known()))
    count = CASES if operation.body else CASES_WITHOUT_BODY
    count = count * hypothesis.settings.default.max_examples // 100

    @hypothesis.settings(max_examples=count, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(case=cases)
    def check(case: schemathesis.Case) -> None:
        server.num_cases += 1
        answer = case.call(base_url=server.url, session=server.session, timeout=30)
        case.validate_response(answer, checks=CHECKED)
        check_events(operation, answer)

    check()


def strategies(operation: Any, known: dict[str, str]) -> list[Any]:
    """Cases that fit the document, cases that do not, and those that have a chance: of objects that
    are there, and with few fields that might contradict each other."""
    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    found = [fitting]
    if operation.body or operation.query:
        found.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    if names := [each.name for each in operation.path_parameters]:
        found.append(operation.as_strategy(path_parameters={name: known[name] for name in names}))
    if operation.body and "application/json" in operation.get_request_payload_content_types():
        found += [modest(fitting, schema_of(operation), known)] * 2
    return found


def schema_of(operation: Any) -> Any:
    body = operation.definition.raw["requestBody"]["content"]["application/json"]["schema"]
    return DOCUMENT["components"]["schemas"][body["$ref"].rpartition("/")[2]]


@st.composite
def modest(draw: Any, cases: Any, schema: Any, known: dict[str, str]) -> Any:
    """A case with what it needs, two other fields at most, and the names of what is there."""
    case = draw(cases)
    if not isinstance(case.body, dict):
        return case
    required = set(schema.get("required", ()))
    kept = (
        required
        | {"text", "prompt"}
        | draw(st.sets(st.sampled_from(sorted(schema["properties"])), max_size=2))
    )
    body = {name: whole(value) for name, value in case.body.items() if name in kept - {"model"}}
    for name in {"prompt", "text", "tokens", "input_ids", "input"} & set(body):
        body[name] = in_vocabulary(body[name])
    if {"text", "prompt"} & set(body):
        body = {name: body[name] for name in set(body) - {"input_ids", "messages"}}
    if "stream" in schema["properties"] and draw(st.booleans()):
        body["stream"] = True
    if "input_file_id" in body:
        body["input_file_id"] = known["file_id"]
    case.body = body
    return case


def in_vocabulary(value: Any) -> Any:
    if isinstance(value, list):
        return [in_vocabulary(each) for each in value]
    return value % 4096 if isinstance(value, int) else value


def whole(value: Any) -> Any:
    """Numbers like 7.0 as 7: JSON Schema calls both integers, this server only the second."""
    if isinstance(value, dict):
        return {name: whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_events(operation: Any, answer: Any) -> None:
    """Of a stream every event is as the document says, and it ends as one should. Of long ones
    schemathesis reads the beginning: then it is a client that goes away."""
    if "text/event-stream" not in str(answer.headers.get("content-type")):
        return
    content = operation.definition.raw["responses"]["200"]["content"]
    data, *done = content["text/event-stream"]["schema"]["properties"]["data"]["anyOf"]
    schema = {**data["contentSchema"], "components": DOCUMENT["components"]}
    lines = answer.text.split("\n")
    told = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    if done and told[-1] == "[DONE]":
        told.pop()
    elif done and not answer.stream_cut_short:
        assert "error" in json.loads(told[-1])
    for each in told:
        jsonschema_rs.validate(schema, json.loads(each))


def test_afterwards_nothing_is_left_and_the_server_answers(server: Server) -> None:
    """The last test of this file."""
    wait_until(lambda: not server.service.batches._tasks, "the ends of batches")
    wait_until(lambda: server.service.generator.num_live == 0, "quiet")
    wait_until(lambda: server.stats()["num_running"] == 0, "quiet in the engine")
    assert server.session.get(f"{server.url}/health_generate").status_code == 200
    assert server.session.post(f"{server.url}/flush_cache").status_code == 200
    stats = server.stats()
    assert stats["num_free_pages"] == stats["num_pages"]
    assert stats["page_imbalance"] == stats["failed_requests"] == 0
    assert server.service.files._num_parts == 0
    if server.labels == set(OPERATIONS):
        assert server.num_cases >= 10 * hypothesis.settings.default.max_examples


def test_every_operation_says_what_it_answers() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                for content in response.get("content", {}).values():
                    is_error = content["schema"].get("$ref", "").endswith("Error")
                    assert content["schema"] and is_error == (status != "200"), (path, method)


def test_with_a_key_the_document_says_where_it_is_needed() -> None:
    app = create_app(
        FakeEngineClient(), ServeConfig(model_path="demo"), byte_tokenizer(), chat_template()
    )
    found = document(app, has_key=True)
    for path, methods in found["paths"].items():
        for operation in methods.values():
            is_open = path in ("/health", "/health/ready")
            assert ("401" in operation["responses"]) == (not is_open)
            assert operation.get("security", []) == (
                [] if is_open else [{"bearer": []}, {"x-api-key": []}]
            )

"""Probes, descriptions, metrics, cache and the schema."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.front.fakes import EOS
from tests.server.live import TEXT, Live, live


def test_health_answers_with_nothing(http: httpx.Client) -> None:
    assert (http.get("/health").status_code, http.get("/health").content) == (200, b"")


def test_ready_waits_for_the_last_program(server: Live, http: httpx.Client) -> None:
    assert http.get("/health/ready").status_code == 200
    server.client.is_ready = False
    try:
        answer = http.get("/health/ready")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    finally:
        server.client.is_ready = True


def test_health_generate_generates_one_token(server: Live, http: httpx.Client) -> None:
    assert http.get("/health_generate").status_code == 200
    (submit,) = server.client.submits
    assert (list(submit.prompt_ids), submit.params.max_new_tokens) == ([EOS], 1)


def test_health_generate_gives_up(
    server: Live, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sgjax_server.routes.health.GENERATE_TIMEOUT_S", 0.05)
    server.client.reset(TEXT, pause_after=0)
    assert http.get("/health_generate").status_code == 503


def test_models_are_listed_and_found(ai: openai.OpenAI, http: httpx.Client) -> None:
    (card,) = ai.models.list().data
    assert (card.id, card.object, card.owned_by) == ("fake", "model", "sgjax")
    assert card.model_extra is not None and card.model_extra["max_model_len"] == 256
    assert ai.models.retrieve("fake").id == "fake"
    with pytest.raises(openai.NotFoundError) as caught:
        ai.models.retrieve("gpt-4")
    assert caught.value.code == "model_not_found"


def test_a_base_url_that_ends_in_a_slash_works(http: httpx.Client) -> None:
    assert http.get("/v1//models").json()["data"][0]["id"] == "fake"
    answer = http.post("/v1//completions", json={"prompt": "a", "max_tokens": 1})
    assert answer.status_code == 200


def test_a_served_name_with_a_slash_is_the_models_name() -> None:
    with live(served_model_name="org/model") as server:
        assert httpx.get(f"{server.url}/v1/models/org/model").json()["id"] == "org/model"
        body = {"prompt": "a", "max_tokens": 1}
        for model, status in (("org/model", 200), ("default", 200), (None, 200), ("fake", 404)):
            answer = httpx.post(f"{server.url}/v1/completions", json=body | {"model": model})
            assert answer.status_code == status
            assert status == 404 or answer.json()["model"] == "org/model"


def test_a_model_named_by_its_path_is_found() -> None:
    name = "/models/my model/"
    with (
        live(served_model_name=name) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="any") as ai,
    ):
        assert ai.models.list().data[0].id == name
        assert ai.models.retrieve(name).id == name


@pytest.mark.parametrize("path", ["/get_model_info", "/model_info"])
def test_model_info_has_sglangs_fields(http: httpx.Client, path: str) -> None:
    info = http.get(path).json()
    assert (info["model_path"], info["is_generation"]) == ("fake", True)


@pytest.mark.parametrize("path", ["/get_server_info", "/server_info", "/get_server_args"])
def test_server_info_has_options_but_not_the_key(path: str) -> None:
    with live(api_key="secret") as server:
        answer = httpx.get(server.url + path, headers={"authorization": "Bearer secret"})
    info = answer.json()
    assert info["port"] == 30000 and info["engine"]["vocab_size"] == 258
    assert info["stats"]["steps"] == 4
    assert "secret" not in answer.text and "api_key" not in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_flush_says_whether_it_did(server: Live, http: httpx.Client, method: str) -> None:
    assert http.request(method, "/flush_cache").status_code == 200
    server.client.reset(TEXT, pause_after=2)
    with http.stream("POST", "/generate", json={"text": "a", "stream": True}):
        server.wait_for_requests(1)
        answer = httpx.request(method, f"{server.url}/flush_cache")
        assert answer.status_code == 400
        assert "abort_all" in answer.json()["error"]["message"]


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_of_engine_and_front() -> None:
    with live() as server, httpx.Client(base_url=server.url) as http:
        http.post("/generate", json={"text": "a", "sampling_params": {"max_new_tokens": 5}})
        http.post("/generate", json={"text": 7})
        http.get("/v1/models/fake")
        http.get("/nowhere")
        answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = samples(answer.text)
    expected = {
        "sgjax_num_running_requests": 0,
        "sgjax_num_queued_requests": 0,
        "sgjax_num_used_pages": 2,
        "sgjax_cached_token_ratio": 0.25,
        "sgjax_compiles_after_ready_total": 0,
        "sgjax_step_seconds_sum": 0.5,
        "sgjax_step_seconds_count": 4,
        "sgjax_engine_ready": 1,
        "sgjax_engine_alive": 1,
        "sgjax_time_to_first_token_seconds_count": 1,
        "sgjax_inter_token_latency_seconds_count": 4,
        "sgjax_e2e_request_latency_seconds_count": 1,
        "sgjax_http_requests_total[/generate][200]": 1,
        "sgjax_http_requests_total[/generate][400]": 1,
        "sgjax_http_requests_total[/v1/models/{name}][200]": 1,
        "sgjax_http_requests_total[unknown][404]": 1,
    }
    assert {name: found.get(name) for name in expected} == expected
    buckets = [
        value for name, value in found.items() if "inter_token_latency_seconds_bucket" in name
    ]
    assert buckets == sorted(buckets) and buckets[-1] == 4


def test_two_apps_share_no_metrics() -> None:
    with live() as one, live() as two:
        httpx.get(f"{one.url}/v1/models")
        found = samples(httpx.get(f"{two.url}/metrics").text)
    assert "sgjax_http_requests_total[/v1/models][200]" not in found


def test_without_a_tokenizer_only_ids_are_served() -> None:
    server_of_ids = live(without_tokenizer=True, skip_tokenizer_init=True)
    with server_of_ids as server, httpx.Client(base_url=server.url) as http:
        body = {"input_ids": [1], "sampling_params": {"max_new_tokens": 2}}
        out = http.post("/generate", json=body).json()
        assert out["output_ids"] == [84, 104] and "text" not in out
        messages = [{"role": "user", "content": "a"}]
        for path, more in (
            ("/v1/completions", {"prompt": [1]}),
            ("/v1/chat/completions", {"messages": messages}),
            ("/generate", {"text": "a"}),
        ):
            answer = http.post(path, json=more)
            assert answer.status_code == 400
            assert "skip-tokenizer-init" in answer.json()["error"]["message"]


def requests_of(document: dict[str, Any]) -> dict[str, Any]:
    """Every schema that a request is held against, with all that they refer to."""
    found: dict[str, Any] = {}

    def add(schema: Any) -> None:
        if isinstance(schema, list):
            for each in schema:
                add(each)
        elif isinstance(schema, dict):
            name = str(schema.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found[name] = document["components"]["schemas"][name]
                add(found[name])
            for each in schema.values():
                add(each)

    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            said = [operation.get("requestBody", {}), operation.get("parameters", [])]
            found[f"{method} {path}"] = said
            add(said)
    return found


def numbers(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a number within a schema, with its path."""
    if isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from numbers(each, f"{path}/{index}")
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for name, each in schema.items():
            yield from numbers(each, f"{path}/{name}")


def test_every_number_in_a_request_has_two_bounds(http: httpx.Client) -> None:
    schemas = requests_of(http.get("/openapi.json").json())
    assert {"ChatBody", "CompletionBody", "GenerateBody", "post /v1/files"} <= set(schemas)
    found = dict(numbers(schemas))
    assert len(found) > 50
    for path, schema in found.items():
        assert {"minimum", "exclusiveMinimum"} & set(schema), path
        assert {"maximum", "exclusiveMaximum"} & set(schema), path
    seed = schemas["CompletionBody"]["properties"]["seed"]
    assert seed["anyOf"][0]["maximum"] == 2**63 - 1, "bounds are exact"


def test_every_list_in_a_request_is_bounded_or_counted_elsewhere(http: httpx.Client) -> None:
    """Prompts are bounded by the context, the body by its bytes; all else says how long."""
    schemas = http.get("/openapi.json").json()["components"]["schemas"]
    for name, prop in schemas["ChatBody"]["properties"].items():
        for option in prop.get("anyOf", [prop]):
            if option.get("type") == "array":
                assert "maxItems" in option, name

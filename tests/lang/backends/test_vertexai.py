"""The calls that the backend VertexAI makes, of a server that speaks Gemini's protocol."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

import sgjax as sgl
from sgjax.errors import ConfigError, InvalidProgram
from tests.lang.backends.fake_api import FakeApi
from tests.lang.backends.programs import PNG, begun, capital, cause, judge, look, plain

# What the client warns of is its own use of aiohttp.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")


def said(*texts: str, reason: str | None = "STOP", **part: Any) -> dict[str, Any]:
    parts = [{"text": text, **part} for text in texts]
    return {
        "responseId": "r1",
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2},
    }


def http(api: FakeApi) -> dict[str, Any]:
    return {"base_url": api.url, "retry_options": {"attempts": 1}}


@pytest.fixture
def backend(api: FakeApi, no_leaks: None) -> Iterator[sgl.VertexAI]:
    found = sgl.VertexAI("gemini", api_key="k", http_options=http(api))
    yield found
    found.shutdown()


def test_a_gen_is_one_call_and_system_messages_stand_apart(api: FakeApi, backend: Any):
    api.answers(said("Par", "is"))
    state = capital.run("France", backend=backend)
    assert state["capital"] == "Paris"
    (path,) = api.paths
    assert path.endswith("/models/gemini:generateContent")
    assert api.body["contents"] == [{"role": "user", "parts": [{"text": "The capital of France?"}]}]
    (part,) = api.body["systemInstruction"]["parts"]
    assert part == {"text": "Answer in one word."}
    assert api.body["generationConfig"] == {
        "maxOutputTokens": 128,
        "temperature": 1.0,
        "topP": 1.0,
    }
    assert state.get_meta_info("capital") == {
        "id": "r1",
        "finish_reason": {"type": "stop"},
        "prompt_tokens": 10,
        "completion_tokens": 2,
    }


def test_vertex_is_asked_in_the_environments_project(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, no_leaks: None
):
    monkeypatch.setenv("GCP_PROJECT_ID", "mine")
    monkeypatch.setenv("GCP_LOCATION", "here")
    credentials = AnonymousCredentials()
    credentials.token = "t"  # as if it had been fetched
    backend = sgl.VertexAI(
        "gemini",
        {"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"},
        credentials=credentials,
        http_options=http(api),
    )
    api.answers(said("Paris"))
    assert capital.run("France", backend=backend)["capital"] == "Paris"
    (path,) = api.paths
    assert path.endswith(
        "/projects/mine/locations/here/publishers/google/models/gemini:generateContent"
    )
    assert api.body["safetySettings"] == [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}
    ]
    backend.shutdown()


def test_an_earlier_answer_is_the_models(api: FakeApi, backend: Any):
    @sgl.function
    def twice(s: Any) -> None:
        s += sgl.user("Hi") + sgl.assistant("Hello")
        s += sgl.user("More") + sgl.assistant(sgl.gen("more"))

    api.answers(said("More"))
    twice.run(backend=backend)["more"]
    assert [content["role"] for content in api.body["contents"]] == ["user", "model", "user"]


def test_parameters_have_geminis_names(api: FakeApi, backend: Any):
    api.answers(said("Paris"))
    params = {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "frequency_penalty": 0.5}
    capital.run("France", **params, stop=".", max_new_tokens=5, backend=backend)["capital"]
    assert api.body["generationConfig"] == {
        "maxOutputTokens": 5,
        "stopSequences": ["."],
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 4,
        "frequencyPenalty": 0.5,
    }


@pytest.mark.parametrize("params", [{"regex": "a+"}, {"min_p": 0.5}, {"ignore_eos": True}])
def test_what_gemini_lacks_is_refused_by_name(backend: Any, params: dict[str, Any]):
    error = cause(capital.run("France", **params, backend=backend), "capital")
    assert isinstance(error, InvalidProgram)
    assert next(iter(params)) in str(error)


def test_a_dtype_is_a_response_schema(api: FakeApi, backend: Any):
    api.answers(said('{"value": true}'))
    assert capital.run("France", dtype=bool, backend=backend)["capital"] == "True"
    config = api.body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"] == {"value": {"type": "boolean"}}


def test_images_are_parts(api: FakeApi, backend: Any):
    api.answers(said("A cat"))
    assert look.run(PNG, backend=backend)["what"] == "A cat"
    image, text = api.body["contents"][0]["parts"]
    assert image["inlineData"]["mime_type"] == "image/png"
    assert base64.b64decode(image["inlineData"]["data"]) == PNG
    assert text == {"text": "What is this?"}


def test_a_program_without_messages_is_the_users_message(api: FakeApi, backend: Any):
    api.answers(said(" Paris"))
    assert plain.run(backend=backend).text() == "The capital of France is Paris"
    (content,) = api.body["contents"]
    assert content == {"role": "user", "parts": [{"text": "The capital of France is"}]}


def test_an_answer_that_has_begun_is_refused(backend: Any):
    assert "'It is '" in str(cause(begun.run(backend=backend), "capital"))


def test_pieces_come_as_they_are_streamed(api: FakeApi, backend: Any):
    api.answers([said("Pa", reason=None), said("ris", reason="MAX_TOKENS")])
    state = capital.run("France", stream=True, backend=backend)
    assert [*state.text_iter("capital")] == ["Pa", "ris"]
    assert state.get_meta_info("capital")["finish_reason"] == {"type": "length"}
    assert "streamGenerateContent" in api.paths[0]


def test_there_is_no_select(backend: Any):
    assert "no select" in str(cause(judge.run(backend=backend), "good"))


def test_thoughts_are_no_answer(api: FakeApi, backend: Any):
    reply = said("Paris")
    reply["candidates"][0]["content"]["parts"].insert(0, {"text": "Hm", "thought": True})
    api.answers(reply)
    assert capital.run("France", backend=backend)["capital"] == "Paris"


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "blocked: SAFETY"),
        (said("Par", reason="RECITATION"), "RECITATION"),
    ],
)
def test_an_answer_that_was_held_back_is_told(api: FakeApi, backend: Any, reply: Any, word: str):
    api.answers(reply)
    assert word in str(cause(capital.run("France", backend=backend), "capital"))


def test_an_error_of_the_api_reaches_who_reads_the_value(api: FakeApi, backend: Any):
    from google.genai.errors import ClientError

    api.answers({"status": 400, "error": {"code": 400, "message": "No", "status": "X"}})
    assert isinstance(cause(capital.run("France", backend=backend), "capital"), ClientError)


def test_a_dead_server_fails_the_value(no_leaks: None):
    options = {"base_url": "http://127.0.0.1:9", "retry_options": {"attempts": 1}}
    backend = sgl.VertexAI("gemini", api_key="k", http_options=options)
    assert cause(capital.run("France", backend=backend), "capital") is not None
    backend.shutdown()


def test_a_missing_project_is_an_error_of_the_options(monkeypatch: pytest.MonkeyPatch):
    for name in ("GCP_PROJECT_ID", "GCP_LOCATION", "GOOGLE_CLOUD_PROJECT", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    with pytest.raises(ConfigError, match="does not start"):
        sgl.VertexAI("gemini")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "google.genai", None)
    with pytest.raises(ConfigError, match=r"sgjax\[apis\]"):
        sgl.VertexAI("gemini")

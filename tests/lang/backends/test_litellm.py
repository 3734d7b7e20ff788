"""The calls that the backend LiteLLM makes, by litellm's client of OpenAI's form."""

from collections.abc import Iterator
from typing import Any

import pytest

import sgjax as sgl
from sgjax.errors import ConfigError, InvalidProgram
from tests.lang.backends.fake_api import FakeApi, chat_events, chat_reply, fake_api
from tests.lang.backends.programs import PNG, begun, capital, cause, judge, look, plain

# What it warns of is its own use of pydantic.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def used() -> None:
    """It keeps a thread for all that is to come once it has streamed."""
    with fake_api() as api:
        api.answers(chat_events("Paris"))
        backend = sgl.LiteLLM("openai/m", api_key="k", base_url=f"{api.url}/v1")
        assert capital.run("France", stream=True, backend=backend)["capital"] == "Paris"
        backend.shutdown()


@pytest.fixture
def backend(api: FakeApi, used: None, no_leaks: None) -> Iterator[sgl.LiteLLM]:
    headers = {"x-team": "red"}
    found = sgl.LiteLLM(
        "openai/gpt-4o",
        api_key="k",
        base_url=f"{api.url}/v1",
        max_retries=0,
        default_headers=headers,
    )
    yield found
    found.shutdown()


def test_a_gen_is_one_call_with_the_messages_so_far(api: FakeApi, backend: Any):
    api.answers(chat_reply("Paris"))
    state = capital.run("France", backend=backend)
    assert state["capital"] == "Paris"
    assert api.paths == ["/v1/chat/completions"]
    assert api.body == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Answer in one word."},
            {"role": "user", "content": "The capital of France?"},
        ],
        "max_tokens": 128,
    }
    assert api.headers[0]["x-team"] == "red"
    assert api.headers[0]["authorization"] == "Bearer k"
    told = state.get_meta_info("capital")
    assert told["finish_reason"] == {"type": "stop"}
    assert told["completion_tokens"] == 2


def test_parameters_have_litellms_names(api: FakeApi, backend: Any):
    api.answers(chat_reply("Paris"))
    params = {"temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.2, "presence_penalty": 0.1}
    capital.run("France", **params, stop=".", max_new_tokens=5, backend=backend)["capital"]
    assert {name: api.body[name] for name in params} == params
    assert (api.body["stop"], api.body["max_tokens"]) == (["."], 5)


@pytest.mark.parametrize("params", [{"regex": "a+"}, {"min_p": 0.5}, {"stop_token_ids": [3]}])
def test_what_litellm_lacks_is_refused_by_name(backend: Any, params: dict[str, Any]):
    error = cause(capital.run("France", **params, backend=backend), "capital")
    assert isinstance(error, InvalidProgram)
    assert next(iter(params)) in str(error)


def test_a_dtype_is_a_response_format(api: FakeApi, backend: Any):
    api.answers(chat_reply('{"value": 1.5}'))
    assert capital.run("France", dtype=float, backend=backend)["capital"] == "1.5"
    schema = api.body["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"value": {"type": "number"}}


def test_images_are_parts_of_messages(api: FakeApi, backend: Any):
    api.answers(chat_reply("A cat"))
    assert look.run(PNG, backend=backend)["what"] == "A cat"
    image, _ = api.body["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_program_without_messages_is_the_users_message(api: FakeApi, backend: Any):
    api.answers(chat_reply(" Paris"))
    assert plain.run(backend=backend).text() == "The capital of France is Paris"
    assert api.body["messages"] == [{"role": "user", "content": "The capital of France is"}]


def test_an_answer_that_has_begun_is_refused(backend: Any):
    assert "'It is '" in str(cause(begun.run(backend=backend), "capital"))


def test_pieces_come_as_they_are_streamed(api: FakeApi, backend: Any):
    api.answers(chat_events("Pa", "ris"))
    state = capital.run("France", stream=True, backend=backend)
    assert [*state.text_iter("capital")] == ["Pa", "ris"]
    assert state.get_meta_info("capital")["completion_tokens"] == 2


def test_there_is_no_select(backend: Any):
    assert "no select" in str(cause(judge.run(backend=backend), "good"))


def test_an_error_of_the_api_reaches_who_reads_the_value(
    api: FakeApi, backend: Any, capsys: pytest.CaptureFixture[str]
):
    import litellm

    api.answers({"status": 401, "error": {"message": "Wrong key"}})
    error = cause(capital.run("France", backend=backend), "capital")
    assert isinstance(error, litellm.AuthenticationError)
    assert capsys.readouterr().out == ""


def test_no_client_is_left_that_another_loop_might_find(api: FakeApi, backend: Any):
    import litellm

    kept = litellm.in_memory_llm_clients_cache.cache_dict
    before = set(kept)
    api.answers(chat_reply("Paris"))
    capital.run("France", backend=backend)["capital"]
    assert set(kept) > before
    backend.shutdown()
    assert set(kept) == before


def test_a_dead_server_fails_the_value():
    address = "http://127.0.0.1:9/v1"
    backend = sgl.LiteLLM("openai/m", api_key="k", base_url=address, max_retries=0)
    assert "onnection" in str(cause(capital.run("France", backend=backend), "capital"))
    backend.shutdown()


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "litellm", None)
    with pytest.raises(ConfigError, match=r"sgjax\[apis\]"):
        sgl.LiteLLM("openai/gpt-4o")

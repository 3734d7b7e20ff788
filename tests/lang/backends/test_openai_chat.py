"""The calls that the backend OpenAI makes of a model of chats, and what becomes of the answers."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import sgjax as sgl
from sgjax.errors import ConfigError, EngineDead, InvalidProgram, ProgramFailed, RequestAborted
from tests.lang.backends.fake_api import FakeApi, chat_events, chat_reply

PNG = b"\x89PNG\r\n\x1a\n0"


@pytest.fixture
def backend(api: FakeApi, no_leaks: None) -> Iterator[sgl.OpenAI]:
    """Of a server that is not OpenAI's own."""
    found = sgl.OpenAI("gpt-4o", base_url=f"{api.url}/v1", api_key="k", max_retries=0)
    yield found
    found.shutdown()


@pytest.fixture
def proper(backend: sgl.OpenAI, monkeypatch: pytest.MonkeyPatch) -> sgl.OpenAI:
    """As if the server were OpenAI's own."""
    monkeypatch.setattr(backend._model, "_is_server", False)
    return backend


@sgl.function
def capital(s: Any, country: str, **params: Any) -> None:
    s += sgl.system("Answer in one word.")
    s += sgl.user(f"The capital of {country}?")
    s += sgl.assistant(sgl.gen("capital", **params))


MESSAGES = [
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": "The capital of France?"},
]


def cause(state: Any, name: str) -> BaseException | None:
    """Why a value cannot be had."""
    with pytest.raises(ProgramFailed) as found:
        state[name]
    return found.value.__cause__


def test_a_gen_is_one_call_with_the_messages_so_far(api: FakeApi, backend: Any):
    api.answers(chat_reply("Paris"))
    state = capital.run(country="France", backend=backend, max_new_tokens=7)
    assert state["capital"] == "Paris"
    assert state.messages() == [*MESSAGES, {"role": "assistant", "content": "Paris"}]
    assert api.paths == ["/v1/chat/completions"]
    assert api.body == {
        "model": "gpt-4o",
        "messages": MESSAGES,
        "max_tokens": 7,
        "temperature": 1.0,
        "top_p": 1.0,
    }
    assert state.get_meta_info("capital") == {
        "id": "chatcmpl-1",
        "finish_reason": {"type": "stop"},
        "prompt_tokens": 10,
        "completion_tokens": 2,
    }


def test_usage_is_summed_over_calls(api: FakeApi, backend: Any):
    api.answers(chat_reply("Paris"))
    capital.run_batch([["France"], ["Spain"], ["Chad"]], backend=backend)
    assert (backend.token_usage.prompt_tokens, backend.token_usage.completion_tokens) == (30, 6)
    backend.token_usage.reset()
    assert backend.token_usage.prompt_tokens == 0


def test_parameters_of_servers_go_along_by_their_names(api: FakeApi, backend: Any):
    api.answers(chat_reply("Paris"))
    params = {"stop": ["."], "temperature": 0.5, "top_k": 3, "min_p": 0.1, "regex": "[A-Z]+"}
    more = {"frequency_penalty": 0.2, "presence_penalty": 0.3, "ignore_eos": True}
    capital.run("France", **params, **more, stop_token_ids=[5], backend=backend)["capital"]
    told = {name: api.body[name] for name in (*params, *more, "stop_token_ids")}
    assert told == {**params, **more, "stop_token_ids": [5]}


def test_a_json_schema_is_the_response_format(api: FakeApi, proper: Any):
    api.answers(chat_reply('{"n": 1}'))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    state = capital.run("France", json_schema=json.dumps(schema), backend=proper)
    assert state["capital"] == '{"n": 1}'
    assert api.body["max_completion_tokens"] == 128
    assert api.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }


@pytest.mark.parametrize(
    "params",
    [
        {"regex": "a+"},
        {"ebnf": 'root ::= "a"'},
        {"top_k": 3},
        {"min_p": 0.5},
        {"ignore_eos": True},
        {"stop_token_ids": [3]},
        {"return_logprob": True},
    ],
    ids=lambda params: next(iter(params)),
)
def test_what_openai_lacks_is_refused_by_name(proper: Any, params: dict[str, Any]):
    error = cause(capital.run("France", **params, backend=proper), "capital")
    assert isinstance(error, InvalidProgram)
    assert next(iter(params)) in str(error)


@pytest.mark.parametrize(
    ("dtype", "said", "value"),
    [
        (int, '{"value": 12}', "12"),
        (float, '{"value": 12}', "12.0"),
        (bool, '{"value": true}', "True"),
        (str, '{"value": "a \\"b\\""}', '"a \\"b\\""'),
    ],
)
def test_a_dtype_is_a_value_within_an_object_at_openai(
    api: FakeApi, proper: Any, dtype: type, said: str, value: str
):
    api.answers(chat_reply(said))
    state = capital.run("France", dtype=dtype, max_tokens=4, backend=proper)
    assert state["capital"] == value
    assert "stop" not in api.body
    schema = api.body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["value"]


def test_a_dtype_is_bound_by_its_regex_on_servers(api: FakeApi, backend: Any):
    api.answers(chat_reply("12"))
    assert capital.run("France", dtype=int, backend=backend)["capital"] == "12"
    assert api.body["regex"] == r"[-+]?[0-9]+[ \n]*"
    assert api.body["stop"] == [" ", "\n"]


def test_a_value_that_was_cut_is_what_there_is_of_it(api: FakeApi, backend: Any):
    api.answers(chat_reply('"Par', reason="length"))
    assert capital.run("France", dtype=str, backend=backend)["capital"] == '"Par'


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_a_server_that_passes_over_a_regex_is_found_out(api: FakeApi, backend: Any, reason: str):
    api.answers(chat_reply("About twelve", reason=reason))
    error = cause(capital.run("France", dtype=int, backend=backend), "capital")
    assert "no int" in str(error)


@pytest.mark.parametrize("said", ['{"value": "x"}', '{"value":', "12", "[]"])
def test_an_object_without_the_value_fails_the_call(api: FakeApi, proper: Any, said: str):
    api.answers(chat_reply(said))
    error = cause(capital.run("France", dtype=int, backend=proper), "capital")
    assert "no int" in str(error)


def test_images_are_parts_of_messages(api: FakeApi, backend: Any):
    @sgl.function
    def look(s: Any) -> None:
        s += sgl.user(sgl.image(PNG) + "What is this?")
        s += sgl.assistant(sgl.gen("what"))

    api.answers(chat_reply("A cat"))
    assert look.run(backend=backend)["what"] == "A cat"
    image, text = api.body["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "What is this?"}


def test_pieces_come_as_they_are_streamed(api: FakeApi, backend: Any):
    api.answers(chat_events("Pa", "ris"))
    state = capital.run("France", stream=True, backend=backend)
    assert [*state.text_iter("capital")] == ["Pa", "ris"]
    assert api.body["stream"] and api.body["stream_options"] == {"include_usage": True}
    assert backend.token_usage.completion_tokens == 2
    assert state.get_meta_info("capital")["finish_reason"] == {"type": "stop"}


def test_a_stream_that_is_cut_is_no_answer(api: FakeApi, backend: Any):
    api.answers(chat_events("Pa", "ris")[:1])
    state = capital.run("France", stream=True, backend=backend)
    with pytest.raises(ProgramFailed, match="ended before the answer did"):
        list(state.text_iter("capital"))
    assert isinstance(cause(state, "capital"), RequestAborted)


def test_a_gen_outside_of_an_assistants_message_is_refused(backend: Any):
    @sgl.function
    def plain(s: Any) -> None:
        s += "The capital of France is" + sgl.gen("capital")

    error = cause(plain.run(backend=backend), "capital")
    assert isinstance(error, InvalidProgram)
    assert "assistant" in str(error)


@sgl.function
def begun(s: Any) -> None:
    s += sgl.user("The capital of France?")
    s += sgl.assistant("It is " + sgl.gen("capital"))


def test_a_server_goes_on_from_an_answer_that_has_begun(api: FakeApi, backend: Any):
    api.answers(chat_reply("Paris"))
    state = begun.run(backend=backend)
    assert state.messages()[-1]["content"] == "It is Paris"
    assert api.body["messages"][-1] == {"role": "assistant", "content": "It is "}
    assert api.body["continue_final_message"] is True
    assert api.body["add_generation_prompt"] is False


def test_openai_cannot_go_on_from_an_answer_that_has_begun(api: FakeApi, proper: Any):
    error = cause(begun.run(backend=proper), "capital")
    assert isinstance(error, InvalidProgram)
    assert "'It is '" in str(error)
    assert not api.bodies


@sgl.function
def judge(s: Any, **kwargs: Any) -> None:
    s += sgl.user("Is it good?")
    s += sgl.assistant(sgl.select("good", ["yes", "no"], **kwargs))


def test_select_is_an_enum(api: FakeApi, backend: Any):
    api.answers(chat_reply('{"choice": "no"}'))
    state = judge.run(backend=backend)
    assert state["good"] == "no"
    assert state.messages()[-1]["content"] == "no"
    schema = api.body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["choice"]["enum"] == ["yes", "no"]
    assert api.body["temperature"] == 0


def test_a_choice_that_is_none_of_them_is_told(api: FakeApi, backend: Any):
    api.answers(chat_reply('{"choice": "maybe"}'))
    assert "none of the choices" in str(cause(judge.run(backend=backend), "good"))


def test_a_choices_method_needs_logprobs(backend: Any):
    state = judge.run(choices_method=sgl.greedy_token_selection, backend=backend)
    assert isinstance(cause(state, "good"), InvalidProgram)


def test_text_outside_of_messages_is_not_passed_over(backend: Any):
    @sgl.function
    def loose(s: Any) -> None:
        s += "Be brief." + sgl.user("Hi") + "\n" + sgl.assistant(sgl.gen("hi"))

    assert "outside" in str(cause(loose.run(backend=backend), "hi"))


def test_white_space_between_messages_is_nothing(api: FakeApi, backend: Any):
    @sgl.function
    def spaced(s: Any) -> None:
        s += sgl.user("Hi") + "\n" + sgl.assistant(sgl.gen("hi"))

    api.answers(chat_reply("Hello"))
    assert spaced.run(backend=backend)["hi"] == "Hello"


def test_an_answer_that_the_filter_cut_is_none(api: FakeApi, backend: Any):
    api.answers(chat_reply("Par", reason="content_filter"))
    assert "filter" in str(cause(capital.run("France", backend=backend), "capital"))


def test_azure_is_openai(api: FakeApi, no_leaks: None):
    how: Any = {"azure_endpoint": api.url, "api_version": "1", "api_key": "k"}
    backend = sgl.OpenAI("gpt-4o", is_azure=True, **how)
    api.answers(chat_reply("Paris"))
    assert capital.run("France", backend=backend)["capital"] == "Paris"
    assert api.paths == ["/openai/deployments/gpt-4o/chat/completions?api-version=1"]
    assert "max_completion_tokens" in api.body
    assert isinstance(cause(begun.run(backend=backend), "capital"), InvalidProgram)
    backend.shutdown()


@pytest.mark.parametrize(
    ("address", "is_server"),
    [
        (None, False),
        ("https://eu.api.openai.com/v1", False),
        ("https://mine.openai.azure.com/openai/v1", False),
        ("http://localhost:30000/v1", True),
    ],
)
def test_openai_itself_is_known_by_its_address(address: str | None, is_server: bool):
    backend = sgl.OpenAI("gpt-4o", base_url=address, api_key="k")
    assert backend._model._is_server is is_server
    backend.shutdown()


def test_a_shutdown_gives_up_what_is_under_way(no_leaks: None):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        backend = sgl.OpenAI("m", base_url=address, api_key="k", max_retries=0)
        state = capital.run("France", backend=backend)
        backend.shutdown()
        with pytest.raises(ProgramFailed):
            state["capital"]


def test_a_refusal_is_told(api: FakeApi, backend: Any):
    api.answers(chat_reply(None, refusal="I'd rather not."))
    assert "I'd rather not" in str(cause(capital.run("France", backend=backend), "capital"))


def test_an_error_of_the_api_reaches_who_reads_the_value(api: FakeApi, backend: Any):
    import openai

    api.answers({"status": 401, "error": {"message": "Wrong key"}})
    error = cause(capital.run("France", backend=backend), "capital")
    assert isinstance(error, openai.AuthenticationError)


def test_a_call_is_tried_again_as_often_as_the_client_is_told(api: FakeApi, no_leaks: None):
    backend = sgl.OpenAI("gpt-4o", base_url=f"{api.url}/v1", api_key="k", max_retries=1)
    api.answers({"status": 500, "error": {"message": "Busy"}}, chat_reply("Paris"))
    assert capital.run("France", backend=backend)["capital"] == "Paris"
    assert len(api.bodies) == 2
    backend.shutdown()


def test_a_dead_server_fails_the_value(no_leaks: None):
    backend = sgl.OpenAI("m", base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0)
    assert "Connection" in str(cause(capital.run("France", backend=backend), "capital"))
    backend.shutdown()


def test_a_backend_that_was_shut_down_says_so(api: FakeApi, backend: Any):
    backend.shutdown()
    with pytest.raises(EngineDead, match="shut down"):
        capital.run("France", backend=backend)
    backend.shutdown()


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(ConfigError, match=r"sgjax\[apis\]"):
        sgl.OpenAI("gpt-4o")


def test_a_missing_key_is_an_error_of_the_options(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="key"):
        sgl.OpenAI("gpt-4o")


def test_there_is_no_cache_to_empty(backend: Any):
    with pytest.raises(InvalidProgram, match="no call that empties a prefix cache"):
        sgl.flush_cache(backend)
    assert sgl.get_server_info(backend) == {}

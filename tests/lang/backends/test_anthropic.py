"""The calls that the backend Anthropic makes, and what becomes of the answers."""

from collections.abc import Iterator
from typing import Any

import pytest

import sgjax as sgl
from sgjax.errors import ConfigError, InvalidProgram, ProgramFailed
from tests.lang.backends.fake_api import FakeApi
from tests.lang.backends.programs import PNG, begun, capital, cause, judge, look, plain


def said(*texts: str, reason: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text} for text in texts],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 2},
    }


def streamed(*texts: str) -> list[dict[str, Any]]:
    end = {"stop_reason": "max_tokens", "stop_sequence": None}
    return [
        {"type": "message_start", "message": {**said(), "stop_reason": None}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": text},
            }
            for text in texts
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


@pytest.fixture
def backend(api: FakeApi, no_leaks: None) -> Iterator[sgl.Anthropic]:
    found = sgl.Anthropic("claude", base_url=api.url, api_key="k", max_retries=0)
    yield found
    found.shutdown()


def test_a_gen_is_one_call_and_system_messages_stand_apart(api: FakeApi, backend: Any):
    api.answers(said("Par", "is"))
    state = capital.run("France", backend=backend)
    assert state["capital"] == "Paris"
    assert api.paths == ["/v1/messages"]
    assert api.body == {
        "model": "claude",
        "max_tokens": 128,
        "system": "Answer in one word.",
        "messages": [{"role": "user", "content": "The capital of France?"}],
    }
    assert state.get_meta_info("capital") == {
        "id": "msg_1",
        "finish_reason": {"type": "stop"},
        "prompt_tokens": 10,
        "completion_tokens": 2,
    }


def test_parameters_have_anthropics_names(api: FakeApi, backend: Any):
    api.answers(said("Paris"))
    params = {"temperature": 0.5, "top_p": 0.9, "top_k": 4}
    capital.run("France", **params, stop=".", max_new_tokens=5, backend=backend)["capital"]
    told = {name: api.body[name] for name in params}
    assert told == params
    assert (api.body["stop_sequences"], api.body["max_tokens"]) == (["."], 5)


@pytest.mark.parametrize(
    "params",
    [{"regex": "a+"}, {"ebnf": 'root ::= "a"'}, {"min_p": 0.5}, {"frequency_penalty": 0.5}],
    ids=lambda params: next(iter(params)),
)
def test_what_anthropic_lacks_is_refused_by_name(backend: Any, params: dict[str, Any]):
    error = cause(capital.run("France", **params, backend=backend), "capital")
    assert isinstance(error, InvalidProgram)
    assert next(iter(params)) in str(error)


def test_an_answer_that_has_begun_is_gone_on_with(api: FakeApi, backend: Any):
    api.answers(said("Paris"))
    state = begun.run(backend=backend)
    assert state.messages()[-1]["content"] == "It is Paris"
    assert api.body["messages"][-1] == {"role": "assistant", "content": "It is "}


def test_a_dtype_is_an_output_format(api: FakeApi, backend: Any):
    api.answers(said('{"value": 12}'))
    assert capital.run("France", dtype=int, backend=backend)["capital"] == "12"
    form = api.body["output_config"]["format"]
    assert form["type"] == "json_schema"
    assert form["schema"]["properties"] == {"value": {"type": "integer"}}


def test_images_are_blocks(api: FakeApi, backend: Any):
    api.answers(said("A cat"))
    assert look.run(PNG, backend=backend)["what"] == "A cat"
    image, text = api.body["messages"][0]["content"]
    assert image["source"]["media_type"] == "image/png"
    assert text == {"type": "text", "text": "What is this?"}


def test_a_program_without_messages_is_the_users_message(api: FakeApi, backend: Any):
    api.answers(said(" Paris"))
    assert plain.run(backend=backend).text() == "The capital of France is Paris"
    assert api.body["messages"] == [{"role": "user", "content": "The capital of France is"}]


def test_a_system_message_in_the_middle_is_refused(backend: Any):
    @sgl.function
    def late(s: Any) -> None:
        s += sgl.user("Hi") + sgl.system("Be brief.") + sgl.assistant(sgl.gen("hi"))

    assert "beginning" in str(cause(late.run(backend=backend), "hi"))


def test_pieces_come_as_they_are_streamed(api: FakeApi, backend: Any):
    api.answers(streamed("Pa", "ris"))
    state = capital.run("France", stream=True, backend=backend)
    assert [*state.text_iter("capital")] == ["Pa", "ris"]
    told = state.get_meta_info("capital")
    assert told["finish_reason"] == {"type": "length"}
    assert told["completion_tokens"] == 7


def test_there_is_no_select_and_no_guess(backend: Any):
    assert "no select" in str(cause(judge.run(backend=backend), "good"))
    with pytest.raises(InvalidProgram, match="num_api_spec_tokens"):
        sgl.function(judge.func, num_api_spec_tokens=9).run(backend=backend)


def test_a_refusal_is_told(api: FakeApi, backend: Any):
    api.answers(said(reason="refusal"))
    assert "refused" in str(cause(capital.run("France", backend=backend), "capital"))


def test_an_error_of_the_api_reaches_who_reads_the_value(api: FakeApi, backend: Any):
    import anthropic

    api.answers({"status": 401, "error": {"type": "x", "message": "Wrong key"}})
    error = cause(capital.run("France", backend=backend), "capital")
    assert isinstance(error, anthropic.AuthenticationError)


def test_a_dead_server_fails_the_value(no_leaks: None):
    backend = sgl.Anthropic("claude", base_url="http://127.0.0.1:9", api_key="k", max_retries=0)
    with pytest.raises(ProgramFailed, match="Connection"):
        capital.run("France", backend=backend)["capital"]
    backend.shutdown()


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "anthropic", None)
    with pytest.raises(ConfigError, match=r"sgjax\[apis\]"):
        sgl.Anthropic("claude")

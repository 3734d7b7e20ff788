"""The clients of APIs against a real server of sgjax's, and what its own endpoint says there."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import sgjax as sgl
from sgjax.errors import ProgramFailed
from tests.lang.backends.programs import judge

# What litellm warns of is its own use of pydantic.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

GREEDY: dict[str, Any] = {"temperature": 0, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def chat(runtime: sgl.Runtime) -> Iterator[sgl.OpenAI]:
    backend = sgl.OpenAI("demo", base_url=f"{runtime.url}/v1", api_key="k", max_retries=0)
    yield backend
    backend.shutdown()


@pytest.fixture(scope="module")
def completion(runtime: sgl.Runtime) -> Iterator[sgl.OpenAI]:
    url = f"{runtime.url}/v1"
    backend = sgl.OpenAI("demo", is_chat_model=False, base_url=url, api_key="k", max_retries=0)
    yield backend
    backend.shutdown()


@pytest.fixture(scope="module")
def claude(runtime: sgl.Runtime) -> Iterator[sgl.Anthropic]:
    backend = sgl.Anthropic("demo", base_url=runtime.url, auth_token="k", max_retries=0)
    yield backend
    backend.shutdown()


@pytest.fixture(scope="module")
def litellm(runtime: sgl.Runtime) -> Iterator[sgl.LiteLLM]:
    url = f"{runtime.url}/v1"
    backend = sgl.LiteLLM("openai/demo", api_key="k", base_url=url, max_retries=0)
    yield backend
    backend.shutdown()


@pytest.fixture(params=["chat", "claude", "litellm"])
def any_chat(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@sgl.function
def talk(s: Any) -> None:
    s += sgl.user("What is the capital of Italy?")
    s += sgl.assistant(sgl.gen("first"))
    s += sgl.user("And of France?")
    s += sgl.assistant(sgl.gen("second"))


@sgl.function
def begun(s: Any) -> None:
    s += sgl.user("What is the capital of Italy?")
    s += sgl.assistant("The capital" + sgl.gen("rest"))


@sgl.function
def bound(s: Any, **params: Any) -> None:
    s += sgl.user("How many?")
    s += sgl.assistant(sgl.gen("value", **params))


@sgl.function
def capital(s: Any, **params: Any) -> None:
    s += "The capital of Italy is" + sgl.gen("capital", **params)


def test_a_chat_says_the_same_through_each_api(runtime: sgl.Runtime, any_chat: Any):
    state = talk.run(backend=any_chat, **GREEDY)
    expected = talk.run(backend=runtime, **GREEDY)
    assert state.messages() == expected.messages()
    told, wanted = (each.get_meta_info("second") for each in (state, expected))
    assert told["finish_reason"]["type"] == wanted["finish_reason"]["type"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert told[name] == wanted[name]


def test_a_streamed_chat_says_the_same(any_chat: Any):
    streamed = talk.run(backend=any_chat, stream=True, **GREEDY)
    pieces = [*streamed.text_iter("second")]
    assert len(pieces) > 1
    assert "".join(pieces) == talk.run(backend=any_chat, **GREEDY)["second"]


@pytest.mark.parametrize("name", ["chat", "claude"])
def test_an_answer_that_has_begun_is_gone_on_with(
    request: pytest.FixtureRequest, runtime: sgl.Runtime, name: str
):
    state = begun.run(backend=request.getfixturevalue(name), **GREEDY)
    assert state["rest"] == begun.run(backend=runtime, **GREEDY)["rest"]


@pytest.mark.parametrize(
    ("dtype", "pattern"),
    [(int, r"-?\d+"), (float, r"[-+\d.e]+"), (bool, "True|False"), (str, r'"[\w\s.?!,]*"?')],
)
def test_a_dtype_holds(any_chat: Any, dtype: type, pattern: str):
    state = bound.run(dtype=dtype, max_tokens=60, backend=any_chat, temperature=0)
    assert re.fullmatch(pattern, state["value"].strip())


@pytest.mark.parametrize("dtype", [int, bool])
def test_a_dtype_of_completions_is_that_of_the_endpoint(
    runtime: sgl.Runtime, completion: Any, dtype: type
):
    state = capital.run(dtype=dtype, backend=completion, **GREEDY)
    assert state["capital"] == capital.run(dtype=dtype, backend=runtime, **GREEDY)["capital"]


def test_a_json_schema_holds(any_chat: Any):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "of": {"enum": ["a", "b"]}},
        "required": ["ok", "of"],
        "additionalProperties": False,
    }
    state = bound.run(json_schema=json.dumps(schema), backend=any_chat, temperature=0)
    assert set(json.loads(state["value"])) == {"ok", "of"}


@pytest.mark.parametrize("name", ["chat", "completion"])
def test_a_regex_holds_on_servers(request: pytest.FixtureRequest, name: str):
    backend = request.getfixturevalue(name)
    program = bound if name == "chat" else capital
    state = program.run(regex="[a-c]{5}", backend=backend, temperature=0)
    assert re.fullmatch("[a-c]{5}", state["value" if name == "chat" else "capital"])


def test_completions_say_the_same(runtime: sgl.Runtime, completion: Any):
    params = {**GREEDY, "stop": ["e"], "top_k": 5}
    state = capital.run(backend=completion, **params)
    assert state["capital"] == capital.run(backend=runtime, **params)["capital"]
    streamed = capital.run(backend=completion, stream=True, **params)
    assert "".join(streamed.text_iter("capital")) == state["capital"]


@pytest.mark.parametrize(
    "method",
    [
        sgl.token_length_normalized,
        sgl.greedy_token_selection,
        sgl.unconditional_likelihood_normalized,
    ],
)
def test_select_of_completions_is_that_of_the_endpoint(
    runtime: sgl.Runtime, completion: Any, method: Any
):
    @sgl.function
    def choose(s: Any) -> None:
        s += "The capital of Italy is"
        s += sgl.select("city", [" Paris", " Rome", " Reykjavik"], choices_method=method)

    mine, other = choose.run(backend=completion), choose.run(backend=runtime)
    assert mine["city"] == other["city"]
    scores, expected = (
        state.get_meta_info("city")["normalized_prompt_logprobs"] for state in (mine, other)
    )
    assert scores == pytest.approx(expected, abs=1e-3)


def test_select_of_a_chat_is_one_of_the_choices(chat: Any):
    assert judge.run(backend=chat)["good"] in ("yes", "no")


def test_a_guess_changes_no_value(completion: Any, monkeypatch: pytest.MonkeyPatch):
    def program(s: Any) -> None:
        s += "The capital of" + sgl.gen("country", stop=" is")
        s += " is" + sgl.gen("city", stop=".") + "." + sgl.gen("rest", max_tokens=2)

    plain = sgl.function(program).run(backend=completion, **GREEDY).text()
    assert re.fullmatch(r"The capital of .+ is .+\..*", plain)
    calls, complete = [], completion._model.complete

    def counted(*args: Any) -> Any:
        calls.append(args)
        return complete(*args)

    monkeypatch.setattr(completion._model, "complete", counted)
    guessing = sgl.function(program, num_api_spec_tokens=24)
    assert guessing.run(backend=completion, **GREEDY).text() == plain
    assert len(calls) == 1


def test_a_batch_runs_at_a_time(chat: Any):
    chat.token_usage.reset()
    states = talk.run_batch([{}] * 6, backend=chat, **GREEDY)
    assert len({state["second"] for state in states}) == 1
    told = [state.get_meta_info(name) for state in states for name in ("first", "second")]
    assert chat.token_usage.completion_tokens == sum(each["completion_tokens"] for each in told)


def test_what_the_server_refuses_reaches_who_reads_the_value(chat: Any):
    with pytest.raises(ProgramFailed, match="context") as found:
        talk.run(backend=chat, max_new_tokens=1_000_000)["first"]
    assert type(found.value.__cause__).__name__ == "BadRequestError"

"""The calls that the backend OpenAI makes of a model of completions."""

from collections.abc import Iterator
from typing import Any

import pytest

import sgjax as sgl
from sgjax.errors import InvalidProgram, ProgramFailed
from tests.lang.backends.fake_api import FakeApi, completion_choice, completion_reply


@pytest.fixture
def backend(api: FakeApi, no_leaks: None) -> Iterator[sgl.OpenAI]:
    found = sgl.OpenAI("davinci-002", base_url=f"{api.url}/v1", api_key="k", max_retries=0)
    yield found
    found.shutdown()


@pytest.fixture
def proper(backend: sgl.OpenAI, monkeypatch: pytest.MonkeyPatch) -> sgl.OpenAI:
    """As if the server were OpenAI's own."""
    monkeypatch.setattr(backend._model, "_is_server", False)
    return backend


@sgl.function
def capital(s: Any, **params: Any) -> None:
    s += "The capital of France is" + sgl.gen("capital", **params) + "."


def said(text: str) -> dict[str, Any]:
    return completion_reply(completion_choice(text))


def test_a_gen_goes_on_from_the_text(api: FakeApi, backend: Any):
    api.answers(said(" Paris"))
    state = capital.run(backend=backend, stop=["."])
    assert state.text() == "The capital of France is Paris."
    assert api.paths == ["/v1/completions"]
    assert api.body == {
        "model": "davinci-002",
        "prompt": "The capital of France is",
        "max_tokens": 128,
        "stop": ["."],
        "temperature": 1.0,
        "top_p": 1.0,
    }


def test_a_gpt_is_asked_for_completions_if_it_is_said_to_be_no_chat_model(
    api: FakeApi, no_leaks: None
):
    backend = sgl.OpenAI("gpt-9", is_chat_model=False, base_url=f"{api.url}/v1", api_key="k")
    api.answers(said(" Paris"))
    assert capital.run(backend=backend)["capital"] == " Paris"
    assert api.paths == ["/v1/completions"]
    backend.shutdown()


def test_a_json_schema_goes_to_a_server(api: FakeApi, backend: Any):
    api.answers(said("{}"))
    capital.run(json_schema='{"type": "object"}', backend=backend)["capital"]
    assert api.body["json_schema"] == '{"type": "object"}'


@pytest.mark.parametrize("name", ["json_schema", "regex"])
def test_openai_binds_no_completions(proper: Any, name: str):
    with pytest.raises(ProgramFailed, match=name) as found:
        capital.run(**{name: "{}"}, backend=proper)["capital"]
    assert isinstance(found.value.__cause__, InvalidProgram)


@pytest.mark.parametrize(
    ("dtype", "answer", "value", "prompt", "stop"),
    [
        (int, " 12 of", "12", "is", ["\n"]),
        (float, "-1.5e", "-1.5", "is", ["\n"]),
        (bool, " False", "False", "is", ["\n"]),
        (str, "Paris", '"Paris"', 'is"', ['"']),
    ],
)
def test_a_dtype_is_found_in_what_openai_answers(
    api: FakeApi, proper: Any, dtype: type, answer: str, value: str, prompt: str, stop: list[str]
):
    api.answers(said(answer))
    assert capital.run(dtype=dtype, backend=proper)["capital"] == value
    assert api.body["prompt"].endswith(prompt)
    assert api.body["stop"] == stop


def test_an_answer_without_a_number_fails_the_value(api: FakeApi, proper: Any):
    api.answers(said(" Paris"))
    with pytest.raises(ProgramFailed, match="no int"):
        capital.run(dtype=int, backend=proper)["capital"]


def test_images_are_refused(backend: Any):
    @sgl.function
    def look(s: Any) -> None:
        s += sgl.image(b"\x89PNG") + sgl.gen("what")

    with pytest.raises((ProgramFailed, InvalidProgram), match="image"):
        look.run(backend=backend)["what"]


def test_pieces_come_as_they_are_streamed(api: FakeApi, backend: Any):
    events = [completion_reply(completion_choice(text)) for text in (" Pa", "ris")]
    api.answers(events)
    state = capital.run(stream=True, backend=backend)
    assert "".join(state.text_iter()) == "The capital of France is Paris."
    assert state["capital"] == " Paris"


def scored(index: int, *tokens: tuple[str, float | None]) -> dict[str, Any]:
    """A prompt of these tokens, with their logprobs."""
    texts = [text for text, _ in tokens]
    offsets = [len("".join(texts[:count])) for count in range(len(texts))]
    logprobs = {
        "tokens": texts,
        "token_logprobs": [logprob for _, logprob in tokens],
        "text_offset": offsets,
    }
    return completion_choice("".join(texts), index, logprobs=logprobs)


@sgl.function
def choose(s: Any, **kwargs: Any) -> None:
    s += "It is" + sgl.select("it", [" good", " not bad"], **kwargs)


GOOD = scored(0, ("It", None), (" is", -1.0), (" good", -3.0))
NOT_BAD = scored(1, ("It", None), (" is", -1.0), (" not", -2.0), (" bad", -2.0))


def test_select_scores_all_choices_in_one_call(api: FakeApi, backend: Any):
    api.answers(completion_reply(NOT_BAD, GOOD))
    state = choose.run(backend=backend)
    assert state["it"] == " not bad"
    told = state.get_meta_info("it")
    assert told["normalized_prompt_logprobs"] == [-3.0, -2.0]
    assert [[text for *_, text in tokens] for tokens in told["input_token_logprobs"]] == [
        [" good"],
        [" not", " bad"],
    ]
    assert api.body["prompt"] == ["It is good", "It is not bad"]
    assert api.body["echo"] is True and api.body["logprobs"] and api.body["max_tokens"] == 0


def test_a_token_across_the_prompts_end_is_the_choices(api: FakeApi, backend: Any):
    across = scored(0, ("It", None), (" is good", -0.5))
    api.answers(completion_reply(across, NOT_BAD))
    assert choose.run(backend=backend)["it"] == " good"


def test_choices_are_also_scored_alone_for_methods_that_want_it(api: FakeApi, backend: Any):
    alone = [
        scored(0, (" good", -9.0)),
        # With what a server puts before.
        scored(1, ("", None), (" not", -1.0), (" bad", -1.0)),
    ]
    api.answers(completion_reply(GOOD, NOT_BAD), completion_reply(*alone))
    method = sgl.unconditional_likelihood_normalized
    assert choose.run(choices_method=method, backend=backend)["it"] == " good"
    assert api.bodies[1]["prompt"] == [" good", " not bad"]


def test_a_server_that_tells_no_logprobs_is_named(api: FakeApi, backend: Any):
    api.answers(completion_reply(completion_choice("a", 0), completion_choice("b", 1)))
    with pytest.raises(ProgramFailed, match="echo"):
        choose.run(backend=backend)["it"]

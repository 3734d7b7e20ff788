"""num_api_spec_tokens: fewer calls of OpenAI's API, and the same values."""

from collections.abc import Iterator
from typing import Any

import pytest

import sgjax as sgl
from sgjax.errors import InvalidProgram, ProgramFailed
from tests.lang.backends.fake_api import FakeApi, chat_reply, completion_choice, completion_reply


@pytest.fixture
def completing(api: FakeApi, no_leaks: None) -> Iterator[sgl.OpenAI]:
    found = sgl.OpenAI("davinci-002", base_url=f"{api.url}/v1", api_key="k", max_retries=0)
    yield found
    found.shutdown()


def said(*pieces: str, reason: str = "length") -> dict[str, Any]:
    offsets = [len("".join(pieces[:count])) for count in range(len(pieces))]
    logprobs = {"tokens": list(pieces), "text_offset": [7 + at for at in offsets]}
    return completion_reply(completion_choice("".join(pieces), reason=reason, logprobs=logprobs))


@sgl.function(num_api_spec_tokens=20)
def person(s: Any, **params: Any) -> None:
    s += "Name:" + sgl.gen("name", stop="\n", **params) + "\nJob:" + sgl.gen("job", stop="\n")


NAME_AND_JOB = said(" Ann", "\n", "Job", ":", " cook", "\n", "Name", ":")


def test_texts_and_gens_that_were_guessed_are_no_calls(api: FakeApi, completing: Any):
    api.answers(NAME_AND_JOB)
    state = person.run(backend=completing, max_new_tokens=8)
    assert (state["name"], state["job"]) == (" Ann", " cook")
    assert state.text() == "Name: Ann\nJob: cook"
    assert api.body["prompt"] == "Name:"
    assert api.body["max_tokens"] == 20
    assert "stop" not in api.body


def test_another_text_than_was_guessed_is_gone_on_from_by_a_call(api: FakeApi, completing: Any):
    api.answers(said(" Ann", "\n", "Age", ":"), said(" cook", "\n"))
    state = person.run(backend=completing, max_new_tokens=2)
    assert (state["name"], state["job"]) == (" Ann", " cook")
    assert [body["prompt"] for body in api.bodies] == ["Name:", "Name: Ann\nJob:"]


def test_a_guess_that_does_not_reach_is_gone_on_from(api: FakeApi, completing: Any):
    api.answers(said(" Ann", "\n", "Job", ":", " head"), said(" cook", "\n"))
    state = person.run(backend=completing, max_new_tokens=50)
    assert state["job"] == " head cook"
    assert api.bodies[1]["prompt"] == "Name: Ann\nJob: head"
    assert api.bodies[1]["max_tokens"] == 49


def test_max_tokens_holds_in_a_guess(api: FakeApi, completing: Any):
    api.answers(said(" Ann", "\n", "Job", ":", " head", " cook", "\n"))
    assert person.run(backend=completing, max_new_tokens=1)["job"] == " head"
    assert len(api.bodies) == 1


def test_a_gen_with_other_parameters_is_a_call_of_its_own(api: FakeApi, completing: Any):
    api.answers(NAME_AND_JOB, said(" actor", "\n"))
    state = person.bind(temperature=0.5).run(backend=completing, max_new_tokens=8)
    assert (state["name"], state["job"]) == (" Ann", " actor")
    assert [body["temperature"] for body in api.bodies] == [0.5, 1.0]


def test_a_bound_gen_is_a_call_of_its_own(api: FakeApi, completing: Any):
    api.answers(completion_reply(completion_choice(" A")), said(" cook", "\n"))
    state = person.run(regex=" [A-Z]", backend=completing, max_new_tokens=2)
    assert (state["name"], state["job"]) == (" A", " cook")
    assert api.bodies[0]["stop"] == ["\n"] and "logprobs" not in api.bodies[0]


def test_forks_have_the_guess_too(api: FakeApi, completing: Any):
    @sgl.function(num_api_spec_tokens=20)
    def forked(s: Any) -> None:
        s += "Name:" + sgl.gen("name", stop="\n")
        for fork in s.fork(2):
            fork += "\nJob:" + sgl.gen("job", stop="\n")
            s["job"] = fork["job"]

    api.answers(NAME_AND_JOB)
    assert forked.run(backend=completing)["job"] == " cook"
    assert len(api.bodies) == 1


def test_a_server_that_does_not_tell_where_tokens_begin_is_named(api: FakeApi, completing: Any):
    api.answers(completion_reply(completion_choice(" Ann\n")))
    with pytest.raises(ProgramFailed, match="num_api_spec_tokens"):
        person.run(backend=completing)["name"]


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_guess_of_no_tokens_is_refused(completing: Any, count: Any):
    with pytest.raises(InvalidProgram, match="num_api_spec_tokens"):
        sgl.function(person.func, num_api_spec_tokens=count).run(backend=completing)


@pytest.fixture
def chatting(api: FakeApi, no_leaks: None) -> Iterator[sgl.OpenAI]:
    found = sgl.OpenAI("gpt-4o", base_url=f"{api.url}/v1", api_key="k", max_retries=0)
    yield found
    found.shutdown()


@pytest.fixture
def proper(chatting: sgl.OpenAI, monkeypatch: pytest.MonkeyPatch) -> sgl.OpenAI:
    """As if the server were OpenAI's own."""
    monkeypatch.setattr(chatting._model, "_is_server", False)
    return chatting


@sgl.function(num_api_spec_tokens=64)
def form(s: Any, **params: Any) -> None:
    s += sgl.user("Fill in: Name:\nJob:")
    with s.assistant(), s.var_scope("all"):
        s += "Name:" + sgl.gen("name", stop="\n")
        s += "\nJob:" + sgl.gen("job", stop="\n", **params)
    s += sgl.user("Thanks.")


def test_a_message_of_texts_and_gens_is_one_call(api: FakeApi, proper: Any):
    api.answers(chat_reply("Name: Ann\nJob: cook\n\nAnything else?"))
    state = form.run(backend=proper)
    assert (state["name"], state["job"]) == (" Ann", " cook")
    assert state["all"] == "Name: Ann\nJob: cook"
    assert state.messages() == [
        {"role": "user", "content": "Fill in: Name:\nJob:"},
        {"role": "assistant", "content": "Name: Ann\nJob: cook"},
        {"role": "user", "content": "Thanks."},
    ]
    assert api.body["messages"] == state.messages()[:1]
    assert api.body["max_completion_tokens"] == 64
    assert "stop" not in api.body


def test_a_message_of_another_form_is_asked_for_again(api: FakeApi, proper: Any):
    api.answers(chat_reply("Sure!"), chat_reply("Name: Ann\nJob: cook"))
    assert form.run(backend=proper)["job"] == " cook"
    assert len(api.bodies) == 2


def test_the_third_message_of_another_form_fails_its_gens(api: FakeApi, proper: Any):
    api.answers(chat_reply("Sure!"))
    state = form.run(backend=proper)
    for name in ("name", "job", "all"):
        with pytest.raises(ProgramFailed, match="Sure!"):
            state[name]
    assert len(api.bodies) == 3


def test_a_message_of_one_gen_is_a_call_as_ever(api: FakeApi, proper: Any):
    @sgl.function(num_api_spec_tokens=64)
    def short(s: Any) -> None:
        s += sgl.user("Name?") + sgl.assistant(sgl.gen("name", stop="\n", max_tokens=5))

    api.answers(chat_reply("Ann"))
    assert short.run(backend=proper)["name"] == "Ann"
    assert (api.body["stop"], api.body["max_completion_tokens"]) == (["\n"], 5)


def test_a_message_without_a_gen_is_no_call(api: FakeApi, proper: Any):
    @sgl.function(num_api_spec_tokens=64)
    def shots(s: Any) -> None:
        s += sgl.user("Name?") + sgl.assistant("Ann")

    assert shots.run(backend=proper).messages()[-1]["content"] == "Ann"
    assert not api.bodies


@pytest.mark.parametrize("params", [{"temperature": 0.3}, {"regex": "a"}, {"dtype": int}])
def test_gens_of_a_message_must_be_alike(proper: Any, params: dict[str, Any]):
    with pytest.raises(ProgramFailed, match="num_api_spec_tokens") as found:
        form.bind(**params).run(backend=proper)["job"]
    assert isinstance(found.value.__cause__, InvalidProgram)


@sgl.function(num_api_spec_tokens=64)
def reader(s: Any) -> None:
    s += sgl.user("Fill in.") + sgl.assistant_begin()
    s += "Name:" + sgl.gen("name", stop="\n")
    s["seen"] = s["name"]
    s += "\nJob:" + sgl.gen("job", stop="\n") + sgl.assistant_end()


def test_reading_within_a_message_asks_for_what_stands_before(api: FakeApi, chatting: Any):
    api.answers(chat_reply("Name: Ann\nJob: x"), chat_reply("\nJob: cook"))
    state = reader.run(backend=chatting)
    assert (state["seen"], state["job"]) == (" Ann", " cook")
    assert api.bodies[1]["messages"][-1] == {"role": "assistant", "content": "Name: Ann"}
    assert api.bodies[1]["continue_final_message"] is True


def test_openai_cannot_go_on_behind_what_was_read_within_a_message(api: FakeApi, proper: Any):
    api.answers(chat_reply("Name: Ann\nJob: x"))
    state = reader.run(backend=proper)
    assert state["seen"] == " Ann"
    with pytest.raises(ProgramFailed, match="middle of a message"):
        state["job"]


def test_a_message_that_is_never_ended_is_asked_for_at_the_programs_end(api: FakeApi, proper: Any):
    @sgl.function(num_api_spec_tokens=64)
    def endless(s: Any) -> None:
        s += sgl.user("Fill in.") + sgl.assistant_begin() + "Name:" + sgl.gen("name", stop="\n")

    api.answers(chat_reply("Name: Ann\n"))
    assert endless.run(backend=proper)["name"] == " Ann"


def test_a_program_that_fails_within_a_message_gives_up_its_gens(api: FakeApi, proper: Any):
    @sgl.function(num_api_spec_tokens=64)
    def failing(s: Any) -> None:
        s += sgl.user("Fill in.") + sgl.assistant_begin() + "Name:" + sgl.gen("name")
        raise ValueError("no")

    (state,) = failing.run_batch([{}], backend=proper)
    with pytest.raises(ProgramFailed, match="no"):
        state["name"]


def test_a_choice_within_a_message_is_a_call_of_its_own(api: FakeApi, chatting: Any):
    @sgl.function(num_api_spec_tokens=64)
    def judged(s: Any) -> None:
        s += sgl.user("Good?")
        s += sgl.assistant("It is" + sgl.select("good", ["yes", "no"]) + "." + sgl.gen("why"))

    api.answers(chat_reply('{"choice": "no"}'), chat_reply(". Bad."))
    state = judged.run(backend=chatting)
    assert (state["good"], state["why"]) == ("no", " Bad.")
    assert [body["messages"][-1]["content"] for body in api.bodies] == ["It is", "It isno"]


def test_a_stream_does_not_guess(proper: Any):
    with pytest.raises(InvalidProgram, match="streamed"):
        form.run(stream=True, backend=proper)

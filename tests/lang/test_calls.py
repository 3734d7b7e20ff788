"""The call that each `gen` makes."""

import pytest

import sgjax as sgl
from sgjax.lang.backends.contract import Answer
from sgjax.lang.expressions import REGEX_BOOL, REGEX_FLOAT, REGEX_INT, REGEX_STR

pytestmark = pytest.mark.timeout(10)

DEFAULTS = {
    "max_new_tokens": 128,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "ignore_eos": False,
}
SAMPLING = {
    "stop": [";"],
    "stop_token_ids": [7],
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "min_p": 0.1,
    "frequency_penalty": 0.2,
    "presence_penalty": 0.3,
    "ignore_eos": True,
}
LOGPROBS = {
    "return_logprob": True,
    "logprob_start_len": 3,
    "top_logprobs_num": 2,
    "return_text_in_logprobs": True,
}


@sgl.function
def one(s, expression):
    s += expression


def call_of(backend, expression, **options):
    one.run(expression, backend=backend, **options).sync()
    return backend.calls[-1]


def test_what_nobody_says_is_as_run_says_it(fake):
    call = call_of(fake(), "Hello" + sgl.gen("x"))
    assert (call.kind, call.text, call.dtype) == ("generate", "Hello", None)
    assert dict(call.params) == DEFAULTS
    assert dict(call.logprobs) == {}


def test_what_a_run_says_is_every_gen_s(fake):
    call = call_of(fake(), sgl.gen("x"), max_new_tokens=9, **SAMPLING, **LOGPROBS)
    assert dict(call.params) == {**SAMPLING, "max_new_tokens": 9}
    assert dict(call.logprobs) == LOGPROBS


def test_what_a_gen_says_goes_before_the_run(fake):
    other = {name: type(value)() for name, value in SAMPLING.items()}
    call = call_of(
        fake(),
        sgl.gen("x", 9, **SAMPLING, **LOGPROBS),
        max_new_tokens=3,
        **other,
        top_logprobs_num=8,
    )
    assert dict(call.params) == {**SAMPLING, "max_new_tokens": 9}
    assert dict(call.logprobs) == LOGPROBS


def test_a_gen_may_turn_off_what_the_run_turns_on(fake):
    gen = sgl.gen("x", temperature=0.0, ignore_eos=False, return_logprob=False)
    call = call_of(fake(), gen, temperature=1.0, ignore_eos=True, return_logprob=True)
    assert (call.params["temperature"], call.params["ignore_eos"]) == (0.0, False)
    assert dict(call.logprobs) == {"return_logprob": False}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("regex", r"\d+"),
        ("json_schema", '{"type": "object"}'),
        ("json_schema", {"type": "object"}),
        ("ebnf", 'root ::= "a"'),
    ],
)
def test_a_bound_is_passed_on_as_it_is(fake, name, value):
    assert call_of(fake(), sgl.gen("x", **{name: value})).params[name] == value


@pytest.mark.parametrize(
    ("dtype", "kind", "regex", "stops"),
    [
        (int, int, REGEX_INT, [" ", "\n"]),
        ("int", int, REGEX_INT, [" ", "\n"]),
        (float, float, REGEX_FLOAT, [" ", "\n"]),
        (bool, bool, REGEX_BOOL, None),
        ("str", str, REGEX_STR, None),
    ],
)
def test_a_type_is_a_regex_and_where_it_ends(fake, dtype, kind, regex, stops):
    call = call_of(fake(), sgl.gen("x", dtype=dtype))
    assert call.dtype is kind
    assert call.params["regex"] == regex
    assert call.params.get("stop") == stops


def test_gen_int_and_gen_string_are_gens_of_these_types(fake):
    number = call_of(fake(), sgl.gen_int("x", max_tokens=4, stop=","))
    assert (number.dtype, number.params["max_new_tokens"]) == (int, 4)
    assert number.params["stop"] == [",", " ", "\n"]
    assert call_of(fake(), sgl.gen_string("x", 4)).dtype is str


def test_a_message_s_gen_ends_where_the_template_says(fake):
    backend = fake(template="llama-3-instruct")
    call = call_of(backend, sgl.assistant(sgl.gen("x", stop=["\n", "<|eot_id|>"])))
    assert call.params["stop"] == ["\n", "<|eot_id|>"]
    assert call_of(backend, sgl.assistant(sgl.gen("x"))).params["stop"] == ["<|eot_id|>"]
    assert "stop" not in call_of(backend, sgl.gen("x")).params


def test_stops_of_one_call_are_not_those_of_another(fake):
    backend, stops = fake(), ["."]
    first = call_of(backend, sgl.assistant(sgl.gen_int("x")), stop=stops)
    assert first.params["stop"] == [".", " ", "\n", "<|im_end|>"]
    assert call_of(backend, sgl.gen("x"), stop=stops).params["stop"] == ["."]
    assert "stop" not in call_of(backend, sgl.gen("x")).params
    assert stops == ["."]


def test_gens_follow_one_another_without_being_waited_for(fake):
    backend = fake(lambda text: str(len(text)))
    state = one.run("ab" + sgl.gen("x") + "cd" + sgl.gen("y") + [sgl.gen(), "e"], backend=backend)
    assert state.text() == "ab2cd56e"
    assert [call.text for call in backend.calls] == ["ab", "ab2cd", "ab2cd5"]
    assert (state["x"], state["y"]) == ("2", "5")


def test_meta_info_is_the_backend_s(fake):
    state = one.run("ab" + sgl.gen("x"), backend=fake())
    assert state.get_meta_info("x") == {"prompt": "ab"}


def test_texts_and_expressions_add_up_in_any_order(fake):
    state = one.run("a" + ("b" + sgl.gen("x") + ["c", ("d",)]), backend=fake())
    assert state.text() == "ab!cd"


@pytest.mark.parametrize("stream", [False, True])
def test_the_tokens_that_the_model_made_are_kept_for_the_next_call(fake, monkeypatch, stream):
    backend, seen = fake(), []

    async def generate(transcript, call):
        seen.append([(segment.text, segment.ids) for segment in transcript.segments])
        return Answer("xy", {}, [7, 8])

    async def pieces(transcript, call):
        yield Answer("x", {}, [7])
        yield await generate(transcript, call)

    monkeypatch.setattr(backend, "generate", generate)
    monkeypatch.setattr(backend, "stream", pieces)
    one.run("a" + sgl.gen() + "b" + sgl.gen(), backend=backend, stream=stream).sync()
    assert seen == [[("a", None)], [("a", None), ("xy", (7, 8)), ("b", None)]]

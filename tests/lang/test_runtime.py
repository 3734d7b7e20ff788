"""Programs over HTTP: a server that `Runtime` starts, and what goes wrong with servers."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import sgjax as sgl
from sgjax.errors import ConfigError, EngineDead, InvalidProgram, InvalidRequest, ProgramFailed

CITIES = [" Paris", " London", " Rome"]


@pytest.fixture(scope="module")
def runtime() -> Iterator[sgl.Runtime]:
    with sgl.Runtime(model_path="demo", api_key="secret", max_running_requests=8) as started:
        yield started


def ask(runtime: sgl.Runtime, path: str, body: dict) -> dict:
    headers = {"Authorization": "Bearer secret"}
    response = httpx.post(f"{runtime.url}{path}", json=body, headers=headers, timeout=60)
    response.raise_for_status()
    return response.json()


@sgl.function
def talk(s, country):
    s += sgl.user(f"What is the capital of {country}?")
    s += sgl.assistant(sgl.gen("capital", max_tokens=16))
    s += sgl.user("Name two attractions there.")
    s += sgl.assistant(sgl.gen("attractions", max_tokens=32))


@sgl.function
def choose(s, method):
    s += "The capital of France is"
    s += sgl.select("city", CITIES, choices_method=method)


def test_a_chat_is_what_the_servers_own_template_makes_of_it(runtime):
    state = talk.run(country="Italy", temperature=0, backend=runtime)
    first = {"messages": [{"role": "user", "content": "What is the capital of Italy?"}]}
    greedy = {"temperature": 0, "max_tokens": 16}
    answer = ask(runtime, "/v1/chat/completions", {**first, **greedy})
    assert state["capital"] == answer["choices"][0]["message"]["content"]
    second = {"messages": state.messages()[:3], "temperature": 0, "max_tokens": 32}
    answer = ask(runtime, "/v1/chat/completions", second)
    assert state["attractions"] == answer["choices"][0]["message"]["content"]
    assert [message["role"] for message in state.messages()] == ["user", "assistant"] * 2
    assert state.get_meta_info("attractions")["cached_tokens"] > 0


def test_a_stream_is_the_same_text_piece_by_piece(runtime):
    whole = talk.run(country="Peru", temperature=0, backend=runtime)
    streamed = talk.run(country="Peru", temperature=0, backend=runtime, stream=True)
    pieces = list(streamed.text_iter())
    assert "".join(pieces) == whole.text() == streamed.text()
    assert len(pieces) > 12
    assert list(streamed.text_iter("capital")) and streamed["capital"] == whole["capital"]


@pytest.mark.parametrize(
    "method",
    [
        sgl.token_length_normalized,
        sgl.greedy_token_selection,
        sgl.unconditional_likelihood_normalized,
    ],
    ids=lambda method: type(method).__name__,
)
def test_a_choice_is_scored_by_the_tokens_that_it_adds(runtime, method):
    state = choose.run(method, backend=runtime)
    told = state.get_meta_info("city")
    for city, tokens in zip(CITIES, told["input_token_logprobs"], strict=True):
        assert "".join(text for _, _, text in tokens) == city
        body = {
            "text": f"The capital of France is{city}",
            "sampling_params": {"max_new_tokens": 0},
            "return_logprob": True,
            "logprob_start_len": 0,
        }
        every = ask(runtime, "/generate", body)["meta_info"]["input_token_logprobs"]
        assert [t for _, t, _ in every[-len(tokens) :]] == [t for _, t, _ in tokens]
        wanted = [logprob for logprob, *_ in every[-len(tokens) :]]
        assert [logprob for logprob, *_ in tokens] == pytest.approx(wanted, abs=1e-3)
    assert state["city"] in CITIES
    if method is sgl.token_length_normalized:
        best = max(range(3), key=lambda i: told["normalized_prompt_logprobs"][i])
        assert state["city"] == CITIES[best]


def test_constraints_forks_and_a_batch_with_one_bad_item(runtime):
    @sgl.function
    def bound(s, regex):
        s += "A year: "
        forks = s.fork(2)
        forks += sgl.gen("year", regex=regex, max_tokens=8)
        forks.join()

    states = bound.run_batch(
        [{"regex": "[12][0-9]{3}"}, {"regex": "(?<=a)b"}, {"regex": "19[0-9]{2}"}],
        backend=runtime,
    )
    assert all(year.isdigit() and len(year) == 4 for year in states[0]["year"])
    assert all(year.startswith("19") for year in states[2]["year"])
    with pytest.raises(ProgramFailed, match="lookbehind") as raised:
        states[1]["year"]
    assert isinstance(raised.value.__cause__, InvalidRequest)
    assert str(Path(__file__).name) in str(raised.value)


def test_an_image_to_a_model_of_text_is_a_clear_error(runtime):
    @sgl.function
    def look(s):
        s += sgl.user(sgl.image(b"\x89PNG") + "What is this?")
        s += sgl.assistant(sgl.gen("answer", max_tokens=4))

    with pytest.raises(InvalidProgram, match="reads text, and no image"):
        look.run(backend=runtime)


def test_the_server_says_what_it_is_and_forgets_when_asked(runtime):
    assert sgl.get_server_info(runtime)["model_path"] == "demo"
    assert sgl.flush_cache(runtime)
    state = talk.run(country="Chad", temperature=0, backend=runtime)
    assert state.get_meta_info("capital")["cached_tokens"] == 0


def test_a_wrong_key_and_what_is_no_server_are_clear_errors(runtime):
    with pytest.raises(ConfigError, match="401"):
        sgl.RuntimeEndpoint(runtime.url, api_key="wrong")
    with pytest.raises(ConfigError, match="cannot be reached"):
        sgl.RuntimeEndpoint("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="cannot be reached"):
        sgl.RuntimeEndpoint("nowhere")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(ConfigError, match="501"):
            sgl.RuntimeEndpoint(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_that_cannot_start_says_why(no_leaks):
    with pytest.raises(ConfigError, match="no-such-model"):
        sgl.Runtime(model_path="no-such-model")


def test_a_server_that_dies_fails_what_is_under_way(no_leaks):
    runtime = sgl.Runtime(model_path="demo", max_running_requests=2)

    @sgl.function
    def long(s):
        s += "Once upon a time"
        forks = s.fork(3)
        forks += sgl.gen("story", max_tokens=4000, ignore_eos=True)
        forks.join()

    state = long.run(backend=runtime)
    runtime._process.kill()
    with pytest.raises(ProgramFailed) as raised:
        state["story"]
    assert isinstance(raised.value.__cause__, EngineDead)
    runtime.shutdown()
    runtime.shutdown()
    with pytest.raises(ConfigError, match="was shut down"):
        long.run(backend=runtime)

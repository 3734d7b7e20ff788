"""POST /generate: SGLang's forms, whole and streamed."""

import json
from typing import Any

import httpx
import pytest

from tests.front.fakes import BOS, EOS, logprob_of
from tests.server.live import TEXT, Live


def generate(http: httpx.Client, **body: Any) -> Any:
    answer = http.post("/generate", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(http: httpx.Client, **body: Any) -> list[Any]:
    with http.stream("POST", "/generate", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_text_gives_a_dict(http: httpx.Client) -> None:
    out = generate(http, text="hi", sampling_params={"max_new_tokens": 3}, rid="mine")
    assert out == {
        "text": "The",
        "output_ids": [84, 104, 101],
        "meta_info": {
            "id": "mine",
            "finish_reason": {"type": "length", "length": 3},
            "prompt_tokens": 3,
            "completion_tokens": 3,
            "cached_tokens": 0,
            "num_retractions": 0,
        },
        "index": 0,
    }


def test_put_does_the_same(http: httpx.Client) -> None:
    answer = http.put(
        "/generate", json={"input_ids": [1], "sampling_params": {"max_new_tokens": 1}}
    )
    assert answer.json()["text"] == "T"


def test_batches_and_samples_give_lists(http: httpx.Client) -> None:
    outs = generate(http, text=["a", "bb"], sampling_params={"max_new_tokens": 1, "n": 2})
    assert [out["index"] for out in outs] == [0, 1, 2, 3]
    assert [out["meta_info"]["prompt_tokens"] for out in outs] == [2, 2, 3, 3]
    assert isinstance(generate(http, input_ids=[[1]], sampling_params={}), list)


def test_whole_text_and_its_end(http: httpx.Client) -> None:
    out = generate(http, text="hi", sampling_params={"max_new_tokens": 200})
    assert out["text"] == TEXT
    assert out["meta_info"]["finish_reason"] == {"type": "stop", "matched": EOS}


def test_a_stop_string_is_trimmed(http: httpx.Client) -> None:
    out = generate(http, text="hi", sampling_params={"stop": " that"})
    assert out["text"] == "The text"
    assert out["meta_info"]["finish_reason"] == {"type": "stop", "matched": " that"}
    assert out["meta_info"]["completion_tokens"] == len("The text that")


def test_logprobs_with_and_without_text(http: httpx.Client) -> None:
    body = {"text": "h", "sampling_params": {"max_new_tokens": 1}, "return_logprob": True}
    info = generate(http, **body, logprob_start_len=0, top_logprobs_num=1)["meta_info"]
    assert info["input_token_logprobs"] == [[None, BOS, None], [logprob_of(104), 104, None]]
    assert info["output_token_logprobs"] == [[logprob_of(84), 84, None]]
    assert info["output_top_logprobs"] == [[[logprob_of(0), 0, None]]]
    assert info["input_top_logprobs"] == [None, [[logprob_of(0), 0, None]]]
    info = generate(http, **body, return_text_in_logprobs=True)["meta_info"]
    assert info["output_token_logprobs"] == [[logprob_of(84), 84, "T"]]
    assert info["input_token_logprobs"] == []


def test_a_stream_is_cumulative_and_ends_with_done(http: httpx.Client) -> None:
    outs = events(http, text="hi", sampling_params={"max_new_tokens": 3}, return_logprob=True)
    assert [out["text"] for out in outs] == ["T", "Th", "The"]
    assert [len(out["meta_info"]["output_token_logprobs"]) for out in outs] == [1, 2, 3]
    assert [out["meta_info"]["completion_tokens"] for out in outs] == [1, 2, 3]
    assert outs[0]["meta_info"]["finish_reason"] is None
    assert outs[-1]["meta_info"]["finish_reason"] == {"type": "length", "length": 3}
    assert {out["meta_info"]["id"] for out in outs} == {outs[0]["meta_info"]["id"]}


def test_a_stream_of_a_batch_interleaves_by_index(http: httpx.Client) -> None:
    last: dict[int, str] = {}
    for out in events(http, text=["a", "b"], sampling_params={"max_new_tokens": 4, "n": 2}):
        last[out["index"]] = out["text"]
    assert last == dict.fromkeys(range(4), "The ")


def test_it_runs_to_the_end_of_the_context(http: httpx.Client) -> None:
    params = {"max_new_tokens": 10_000, "ignore_eos": True}
    out = generate(http, input_ids=[1] * 250, sampling_params=params)
    assert out["meta_info"]["finish_reason"] == {"type": "length", "length": 6}


def test_an_error_before_a_stream_is_a_status(http: httpx.Client) -> None:
    answer = http.post("/generate", json={"input_ids": [1] * 300, "stream": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_an_error_in_a_stream_is_an_event(server: Live, http: httpx.Client) -> None:
    server.client.fails = True
    out = events(http, text="hi")
    assert out == [
        {
            "error": {
                "message": "NaN",
                "type": "server_error",
                "param": None,
                "code": "request_failed",
            }
        }
    ]
    answer = http.post("/generate", json={"text": "hi"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "request_failed")


def test_a_salt_goes_with_the_request(server: Live, http: httpx.Client) -> None:
    generate(http, text="hi", cache_salt="a")
    generate(http, text="hi", extra_key="b")
    generate(http, text="hi")
    assert [submit.cache_salt for submit in server.client.submits] == ["a", "b", ""]


@pytest.mark.parametrize("how", [{"rid": "mine"}, {"abort_all": True}])
def test_abort_returns_what_there_is(server: Live, http: httpx.Client, how: dict[str, Any]) -> None:
    server.client.reset(TEXT, pause_after=2)
    with http.stream(
        "POST", "/generate", json={"text": "hi", "rid": "mine", "stream": True}
    ) as out:
        lines = out.iter_lines()
        while "Th" not in next(lines):
            pass
        assert httpx.post(f"{server.url}/abort_request", json=how).status_code == 200
        rest = [line for line in lines if line]
    last = json.loads(rest[-2].removeprefix("data: "))
    assert last["meta_info"]["finish_reason"] == {"type": "abort", "message": "aborted"}
    assert last["text"] == "Th"


def test_cached_tokens_are_told(server: Live, http: httpx.Client) -> None:
    server.client.num_cached = 2
    assert generate(http, text="hello")["meta_info"]["cached_tokens"] == 2

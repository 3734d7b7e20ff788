"""A server process and its engine process, with a tiny Llama of random weights."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.front.fakes import SPECIAL, TEMPLATE, byte_tokenizer
from tests.server.test_run import free_port

pytestmark = pytest.mark.slow

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 258,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 256,
    "eos_token_id": 257,
}
FLAGS = ["--load-format", "dummy", "--max-total-tokens", "1024", "--enable-cache-report"]
USER: Any = [{"role": "user", "content": "Hi"}]


class Served:
    def __init__(self, popen: subprocess.Popen[bytes], url: str):
        self.popen = popen
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=60)

    def generate(self, **body: Any) -> Any:
        answer = self.http.post("/generate", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def stats(self) -> dict[str, int]:
        return self.http.get("/get_server_info").json()["stats"]

    def engine_pid(self) -> int:
        tasks = Path(f"/proc/{self.popen.pid}/task").iterdir()
        children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        (pid,) = children
        return pid


def wait_until(holds: Callable[[], bool], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about in {within_s} s"
        time.sleep(0.02)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("model")
    byte_tokenizer().backend.save(str(folder / "tokenizer.json"))
    text = {**SPECIAL, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(text))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    port = free_port()
    command = [sys.executable, "-m", "sgjax.launch_server", "--model-path", str(folder)]
    popen = subprocess.Popen([*command, "--port", str(port), *FLAGS])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: popen.poll() is not None or answers(url), 120, "a start")
        served = Served(popen, url)
        yield served
        served.http.close()
    finally:
        popen.kill()
        popen.wait()


def test_a_stream_says_what_the_whole_answer_says(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="any") as ai:
        how: Any = {"model": "default", "messages": USER, "temperature": 0, "max_tokens": 24}
        how["extra_body"] = {"ignore_eos": True}
        whole = ai.chat.completions.create(**how)
        chunks = ai.chat.completions.create(**how, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert whole.usage is not None and whole.usage.completion_tokens == 24


def test_scoring_a_text_gives_the_logprobs_that_writing_it_gave(served: Served) -> None:
    params = {"temperature": 0, "max_new_tokens": 12, "ignore_eos": True}
    prompt = [256, *b"once upon a time"]
    written = served.generate(input_ids=prompt, sampling_params=params, return_logprob=True)
    scored = served.generate(
        input_ids=prompt + written["output_ids"],
        sampling_params={"max_new_tokens": 0},
        return_logprob=True,
        logprob_start_len=len(prompt) - 1,
    )
    expected = written["meta_info"]["output_token_logprobs"]
    found = scored["meta_info"]["input_token_logprobs"]
    assert [token for _, token, _ in found] == [token for _, token, _ in expected]
    assert [value for value, _, _ in found] == pytest.approx(
        [value for value, _, _ in expected], abs=1e-4
    )


def test_echo_scores_a_text_as_writing_it_did(served: Served) -> None:
    """What evaluation harnesses do, by token ids and with a token too many."""
    params = {"temperature": 0, "max_new_tokens": 6, "ignore_eos": True}
    prompt = [256, *b"once upon a time"]
    written = served.generate(input_ids=prompt, sampling_params=params, return_logprob=True)
    expected = [value for value, _, _ in written["meta_info"]["output_token_logprobs"]]
    body = {"prompt": [prompt + written["output_ids"]], "echo": True, "logprobs": 5}
    for max_tokens in (0, 1):
        answer = served.http.post("/v1/completions", json={**body, "max_tokens": max_tokens})
        found = answer.json()["choices"][0]["logprobs"]
        scored = found["token_logprobs"][len(prompt) : len(prompt) + 6]
        assert scored == pytest.approx(expected, abs=1e-4)
        for own, top in zip(scored, found["top_logprobs"][len(prompt) :], strict=False):
            assert own == max(top.values()), "they were the likeliest"


def test_seeded_samples_repeat_whatever_runs_beside_them(served: Served) -> None:
    params = {"seed": 5, "n": 3, "max_new_tokens": 8}
    alone = served.generate(text="abc", sampling_params=params)
    among = served.generate(text=["x", "abc", "yz"], sampling_params=params)
    assert [out["output_ids"] for out in alone] == [out["output_ids"] for out in among[3:6]]
    assert len({tuple(out["output_ids"]) for out in alone}) > 1


def test_a_repeated_prompt_is_found_in_the_cache(served: Served) -> None:
    prompt = [7] * 100
    params = {"max_new_tokens": 1}
    first = served.generate(input_ids=prompt, sampling_params=params)["meta_info"]
    second = served.generate(input_ids=prompt, sampling_params=params)["meta_info"]
    salted = served.generate(input_ids=prompt, sampling_params=params, cache_salt="other")
    assert (first["cached_tokens"], second["cached_tokens"]) == (0, 96)
    assert salted["meta_info"]["cached_tokens"] == 0


def test_a_request_that_never_fits_is_refused_with_the_numbers(served: Served) -> None:
    answer = served.http.post("/v1/completions", json={"prompt": [1] * 400, "max_tokens": 400})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_clients_that_go_away_leave_no_page_behind(served: Served) -> None:
    body = {"text": "a", "sampling_params": {"n": 4, "max_new_tokens": 400, "ignore_eos": True}}
    with served.http.stream("POST", "/generate", json={**body, "stream": True}) as answer:
        next(answer.iter_lines())
    wait_until(lambda: served.stats()["num_running"] == 0, 2, "quiet")
    stats = served.stats()
    assert stats["num_free_pages"] + stats["num_cached_pages"] == stats["num_pages"]
    assert stats["aborted_requests"] >= 4
    assert served.http.post("/flush_cache").status_code == 200
    stats = served.stats()
    assert stats["num_free_pages"] == stats["num_pages"]


def test_a_killed_engine_is_noticed_and_said(served: Served) -> None:
    """The last test: afterwards this server can only be stopped."""
    body = {"messages": USER, "max_tokens": 480, "stream": True, "ignore_eos": True, "n": 8}
    with served.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        for _ in range(40):
            next(lines)
        os.kill(served.engine_pid(), signal.SIGKILL)
        killed = time.monotonic()
        rest = [line for line in lines if line]
        assert time.monotonic() - killed < 2
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "engine_dead"
    assert served.http.get("/health/ready").status_code == 503
    assert served.http.post("/generate", json={"text": "a"}).status_code == 503
    served.popen.send_signal(signal.SIGTERM)
    assert served.popen.wait(10) == 0

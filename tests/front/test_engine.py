"""The public Engine over a fake engine: the forms of its answers, loops, threads, shutdown."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import sgjax
from sgjax.config import ServeConfig
from sgjax.errors import ConfigError, InvalidRequest
from sgjax.front import engine as engine_module
from sgjax.front.loop_thread import LoopThread
from tests.front.fakes import BOS, EOS, FakeEngineClient, byte_tokenizer, logprob_of

TEXT = "abc, äöü and more"


class Bench:
    """An Engine and the fake behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any):
        self.client = FakeEngineClient(TEXT)

        def tokenizer_of(config: ServeConfig) -> Any:
            return None if config.skip_tokenizer_init else byte_tokenizer()

        monkeypatch.setattr(engine_module, "tokenizer_of", tokenizer_of)
        monkeypatch.setattr(engine_module, "_start_local", self._start)
        self.engine = sgjax.Engine(**options)

    def _start(self, config: ServeConfig, thread: LoopThread) -> FakeEngineClient:
        return self.client


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, no_leaks: None) -> Iterator[Bench]:
    bench = Bench(monkeypatch, model_path="fake")
    yield bench
    bench.engine.shutdown()


def test_a_prompt_gives_a_dict_in_sglangs_form(bench: Bench) -> None:
    out = bench.engine.generate("hi", {"max_new_tokens": 3}, rid="mine")
    assert out == {
        "text": "abc",
        "output_ids": [97, 98, 99],
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


def test_the_end_of_text_is_told_by_its_token(bench: Bench) -> None:
    out = bench.engine.generate("hi")
    assert out["text"] == TEXT
    assert out["output_ids"][-1] == EOS
    assert out["meta_info"]["finish_reason"] == {"type": "stop", "matched": EOS}
    assert out["meta_info"]["completion_tokens"] == len(TEXT.encode()) + 1


def test_sampling_params_may_be_an_object(bench: Bench) -> None:
    params = sgjax.SamplingParams(max_new_tokens=1)
    assert bench.engine.generate(input_ids=[1, 2], sampling_params=params)["text"] == "a"


def test_a_batch_gives_a_list_and_may_have_parameters_each(bench: Bench) -> None:
    params = [{"max_new_tokens": 1}, {"max_new_tokens": 2}]
    outs = bench.engine.generate(["x", "y"], params)
    assert [out["text"] for out in outs] == ["a", "ab"]
    assert [out["index"] for out in outs] == [0, 1]
    outs = bench.engine.generate(input_ids=[[1], [2, 3]], sampling_params={"max_new_tokens": 1})
    assert [out["meta_info"]["prompt_tokens"] for out in outs] == [1, 2]
    assert [len(out) for out in [bench.engine.generate(["only"])]] == [1]


def test_names_that_sglangs_clients_send_empty_are_accepted(bench: Bench) -> None:
    params = {"regex": None, "json_schema": None, "stop": [], "max_new_tokens": 2, "n": 1}
    assert bench.engine.generate("x", {**params, "sampling_seed": 0})["text"] == "ab"
    assert bench.client.submits[0].params.seed == 0
    with pytest.raises(InvalidRequest, match="stop_regex is not supported"):
        bench.engine.generate("x", {"stop_regex": "a+"})
    with pytest.raises(InvalidRequest, match="must be an object"):
        bench.engine.generate("x", 7)  # type: ignore[arg-type]


def test_several_samples_come_prompt_by_prompt(bench: Bench) -> None:
    outs = bench.engine.generate(["x", "yy"], {"n": 2, "max_new_tokens": 1})
    assert [out["meta_info"]["prompt_tokens"] for out in outs] == [2, 2, 3, 3]
    single = bench.engine.generate("x", {"n": 2, "max_new_tokens": 1})
    assert len(single) == 2


def test_logprobs_come_as_triples(bench: Bench) -> None:
    out = bench.engine.generate(
        "hi",
        {"max_new_tokens": 2},
        return_logprob=True,
        logprob_start_len=0,
        top_logprobs_num=2,
        return_text_in_logprobs=True,
    )
    info = out["meta_info"]
    assert info["output_token_logprobs"] == [(logprob_of(97), 97, "a"), (logprob_of(98), 98, "b")]
    assert info["input_token_logprobs"] == [
        (None, BOS, "<s>"),
        (logprob_of(104), 104, "h"),
        (logprob_of(105), 105, "i"),
    ]
    assert info["input_top_logprobs"][0] is None
    assert info["output_top_logprobs"][1] == [
        (logprob_of(0), 0, "\0"),
        (logprob_of(1), 1, "\x01"),
    ]
    assert info["normalized_prompt_logprob"] == (logprob_of(104) + logprob_of(105)) / 2


def test_without_a_start_there_are_no_prompt_logprobs(bench: Bench) -> None:
    info = bench.engine.generate("hi", {"max_new_tokens": 1}, return_logprob=True)["meta_info"]
    assert info["input_token_logprobs"] == []
    assert info["output_token_logprobs"] == [(logprob_of(97), 97, None)]
    assert "output_top_logprobs" not in info


def test_a_stream_is_cumulative(bench: Bench) -> None:
    outs = list(bench.engine.generate("hi", {"max_new_tokens": 3}, stream=True))
    assert [out["text"] for out in outs] == ["a", "ab", "abc"]
    assert [len(out["output_ids"]) for out in outs] == [1, 2, 3]
    reasons = [out["meta_info"]["finish_reason"] for out in outs]
    assert reasons == [None, None, {"type": "length", "length": 3}]


def test_a_stream_of_a_batch_tells_its_parts_by_index(bench: Bench) -> None:
    last: dict[int, str] = {}
    for out in bench.engine.generate(["x", "y"], {"max_new_tokens": 3, "n": 2}, stream=True):
        last[out["index"]] = out["text"]
    assert last == {0: "abc", 1: "abc", 2: "abc", 3: "abc"}


def test_leaving_a_stream_early_aborts(bench: Bench) -> None:
    bench.client.reset(TEXT, pause_after=2)
    stream = bench.engine.generate("hi", stream=True)
    assert next(stream)["text"] == "a"
    stream.close()
    assert len(bench.client.aborted) == 1 and not bench.client.live


def test_errors_of_requests_come_to_the_caller(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="Did you mean 'temperature'"):
        bench.engine.generate("hi", {"temprature": 1})
    with pytest.raises(InvalidRequest, match="text or input_ids"):
        bench.engine.generate()
    with pytest.raises(InvalidRequest, match="text or input_ids"):
        bench.engine.generate("hi", input_ids=[1])
    with pytest.raises(InvalidRequest, match="2 entries, but there are 1 prompts"):
        bench.engine.generate("hi", [{}, {}])
    with pytest.raises(InvalidRequest, match="name each prompt"):
        bench.engine.generate(["x", "y"], rid=["a", "a"])
    with pytest.raises(InvalidRequest, match="not empty"):
        bench.engine.generate([])
    with pytest.raises(InvalidRequest, match="not 'a'"):
        bench.engine.generate(input_ids=[[1], ["a"]])
    for out in [bench.engine.generate("hi")]:
        assert out["text"] == TEXT


def test_it_works_inside_a_running_loop(bench: Bench) -> None:
    async def story() -> None:
        assert bench.engine.generate("hi", {"max_new_tokens": 1})["text"] == "a"
        out = await bench.engine.async_generate("hi", {"max_new_tokens": 2})
        assert out["text"] == "ab"
        stream = await bench.engine.async_generate("hi", {"max_new_tokens": 2}, stream=True)
        assert [each["text"] async for each in stream] == ["a", "ab"]
        outs = await asyncio.gather(*(bench.engine.async_generate("x") for _ in range(5)))
        assert [out["text"] for out in outs] == [TEXT] * 5

    asyncio.run(story())


def test_cancelling_an_async_call_aborts(bench: Bench) -> None:
    bench.client.reset(TEXT, pause_after=1)

    async def story() -> None:
        task = asyncio.create_task(bench.engine.async_generate("hi"))
        while not bench.client.live:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while bench.client.live:
            await asyncio.sleep(0.001)
        assert len(bench.client.aborted) == 1

    asyncio.run(asyncio.wait_for(story(), 10))


def test_threads_may_share_it(bench: Bench) -> None:
    texts: list[str] = []

    def work() -> None:
        texts.append(bench.engine.generate("hi")["text"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [TEXT] * 8


def test_abort_by_name_from_another_thread(bench: Bench) -> None:
    bench.client.reset(TEXT, pause_after=2)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(bench.engine.generate("hi", rid="a")))
    thread.start()
    while not bench.client.live:
        pass
    bench.engine.abort_request("a")
    thread.join()
    assert found[0]["meta_info"]["finish_reason"] == {"type": "abort", "message": "aborted"}
    with pytest.raises(InvalidRequest, match="abort_all"):
        bench.engine.abort_request()
    bench.engine.abort_request(abort_all=True)


def test_info_has_options_and_counters_but_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bench(monkeypatch, model_path="fake", api_key="secret").engine as engine:
        info = engine.get_server_info()
        assert info["model_path"] == "fake"
        assert info["engine"]["vocab_size"] == 258
        assert info["stats"]["steps"] == 4
        assert "secret" not in repr(info)
        assert engine.flush_cache() is True


def test_without_a_tokenizer_answers_have_ids_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bench(monkeypatch, model_path="fake", skip_tokenizer_init=True).engine as engine:
        out = engine.generate(input_ids=[1], sampling_params={"max_new_tokens": 2})
        assert "text" not in out and out["output_ids"] == [97, 98]


def test_shutdown_is_final_and_may_come_twice(bench: Bench) -> None:
    bench.engine.shutdown()
    bench.engine.shutdown()
    assert not bench.client.is_alive
    with pytest.raises(ConfigError, match="was shut down"):
        bench.engine.generate("hi")


def test_a_start_that_fails_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    def fail(config: ServeConfig, thread: LoopThread) -> Any:
        raise ConfigError("no weights")

    monkeypatch.setattr(engine_module, "tokenizer_of", lambda config: byte_tokenizer())
    monkeypatch.setattr(engine_module, "_start_local", fail)
    with pytest.raises(ConfigError, match="no weights"):
        sgjax.Engine(model_path="fake")


def test_an_unknown_option_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="modelpath"):
        sgjax.Engine(modelpath="x")


def test_importing_sgjax_is_light() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import sgjax; "
        "took = time.perf_counter() - start; "
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules; "
        "assert took < 0.3, took; "
        "from sgjax import Engine; assert 'jax' not in sys.modules; "
        "assert sgjax.__version__ and 'Engine' in dir(sgjax)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sgjax.nothing  # noqa: B018

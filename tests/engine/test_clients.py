"""Engines in a thread and in a process, through the same eyes."""

import asyncio
import contextlib
import os
import signal
import sys
from array import array

import pytest

from sgjax.config import ServeConfig
from sgjax.engine.ipc_client import IpcClient
from sgjax.engine.local_client import LocalClient
from sgjax.engine.messages import Failed, Progress, Serving, Submit
from sgjax.errors import ConfigError, EngineDead, InvalidRequest, NeverFits
from sgjax.sampling_params import SamplingParams
from tests.tiny import TinyLlama

MODEL = TinyLlama()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return ServeConfig(
        model_path=str(MODEL.save(tmp_path_factory.mktemp("tiny"))),
        page_size=4,
        max_total_tokens=200,
        chunked_prefill_size=32,
        max_running_requests=4,
    )


@pytest.fixture(params=["thread", "process"])
def client(request):
    return LocalClient if request.param == "thread" else IpcClient


@contextlib.asynccontextmanager
async def started(client, config, on_event=None):
    engine = client.start(config, on_event)
    if client is IpcClient:
        engine = await engine
    try:
        yield engine
    finally:
        await engine.close()


def submit(rid="a", prompt=(5, 6, 7), **params):
    params = {"temperature": 0.0, "max_new_tokens": 6, "ignore_eos": True, **params}
    return Submit(rid, array("i", prompt), SamplingParams(**params))


async def generate(engine, *args, **params):
    deltas = [delta async for delta in engine.generate(submit(*args, **params))]
    return [token for delta in deltas for token in delta.token_ids], deltas[-1].finish


def plain(prompt, count):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(MODEL.logits(tokens)[-1].argmax()))
    return tokens[len(prompt) :]


def run(story):
    asyncio.run(asyncio.wait_for(story, 120))


def test_a_life_of_an_engine(client, config, no_leaks):
    events = []

    async def story():
        async with started(client, config, events.append) as engine:
            assert engine.info.vocab_size == MODEL.vocab_size
            assert engine.info.max_total_tokens == 200
            assert engine.info.eos_ids == [0, 1]
            results = await asyncio.gather(
                *(generate(engine, f"r{i}", [5 + i, 6, 7]) for i in range(9))
            )
            for i, (tokens, finish) in enumerate(results):
                assert tokens == plain([5 + i, 6, 7], 6)
                assert finish.type == "length"
            with pytest.raises(NeverFits, match="209"):
                await generate(engine, "long", [5] * 150, max_new_tokens=60)
            with pytest.raises(InvalidRequest):
                await generate(engine, "none", [])
            stats = await engine.stats()
            assert stats.finished_requests == 9
            assert stats.num_running == stats.num_waiting == 0
            assert stats.num_free_pages + stats.num_cached_pages == stats.num_pages
            assert await engine.flush_cache()
            assert (await engine.stats()).num_cached_pages == 0
        assert not engine.is_alive
        with pytest.raises(EngineDead, match="shut down"):
            await generate(engine)

    run(story())
    assert any(isinstance(event, Progress) and event.phase == "compile" for event in events)
    assert any(isinstance(event, Serving) for event in events)
    assert not any(isinstance(event, Failed) for event in events)


def test_a_reader_that_leaves_frees_its_pages_and_an_abort_is_told(client, config):
    async def story():
        async with started(client, config) as engine:
            async with contextlib.aclosing(
                engine.generate(submit("gone", max_new_tokens=150))
            ) as stream:
                await anext(stream)
            told = asyncio.create_task(generate(engine, "told", max_new_tokens=150))
            while not (await engine.stats()).num_running:
                await asyncio.sleep(0.01)
            await engine.abort("told")
            _, finish = await told
            assert finish.type == "abort"
            stats = await engine.stats()
            assert stats.num_running == 0
            assert stats.num_free_pages + stats.num_cached_pages == stats.num_pages
            assert not stats.page_imbalance

    run(story())


def test_nothing_compiles_once_the_engine_is_ready(client, config):
    async def story():
        async with started(client, config) as engine:
            while not engine.is_ready:
                await asyncio.sleep(0.05)
            params = [
                {},
                {"temperature": 1.0, "top_k": 5},
                {"repetition_penalty": 1.2, "logit_bias": {5: 1.0}},
                {"min_new_tokens": 3, "ignore_eos": False},
            ]
            await asyncio.gather(
                *(
                    generate(engine, f"r{i}.{j}", [4] * (1 + 7 * i), **p)
                    for i in range(6)
                    for j, p in enumerate(params)
                )
            )
            prompt = array("i", [7] * 40)
            wants = Submit("lp", prompt, SamplingParams(), True, logprob_start=0, top_logprobs=3)
            async for _ in engine.generate(wants):
                pass
            stats = await engine.stats()
            assert stats.compiles_after_ready == 0
            assert stats.ready

    run(story())


def test_options_that_cannot_be_served_with_are_a_config_error(client, config, tmp_path):
    async def story():
        with pytest.raises(ConfigError, match="tp-size"):
            async with started(client, ServeConfig(model_path=config.model_path, tp_size=64)):
                pass

    run(story())


def test_an_engine_that_cannot_be_imported_says_so(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "sgjax.engine.engine", None)
    with pytest.raises(EngineDead, match="cannot be imported: ModuleNotFoundError"):
        LocalClient.start(config)


def test_the_death_of_the_engines_process_is_told_without_a_request_of_ones_own(config, no_leaks):
    async def story():
        async with started(IpcClient, config) as engine:
            reader = asyncio.create_task(generate(engine, max_new_tokens=150))
            while not (await engine.stats()).num_running:
                await asyncio.sleep(0.01)
            os.kill(engine.pid, signal.SIGKILL)
            # In well under a second; a busy machine gets more.
            with pytest.raises(EngineDead, match="ended unexpectedly"):
                await asyncio.wait_for(reader, 20)
            assert not engine.is_alive

    run(story())

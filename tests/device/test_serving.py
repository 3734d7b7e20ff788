"""A Llama-3.1-8B shape with random weights, served from a GPU to 256 streams at a time.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_serving.py -s
"""

import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time

import httpx
import pytest

from tests.models.published import MODELS

pytestmark = pytest.mark.device

URL = "http://127.0.0.1:31007"
STREAMS = 256
START_S = 300


@pytest.fixture(scope="module", params=[1, 2], ids=["tp1", "tp2"])
def server(request, tmp_path_factory):
    count = [sys.executable, "-c", "import jax; print(jax.device_count())"]  # takes its memory
    if request.param > int(subprocess.check_output(count)):
        pytest.skip("needs two GPUs")
    folder = tmp_path_factory.mktemp("llama-8b")
    (folder / "config.json").write_text(json.dumps(MODELS["Llama-3.1-8B"].config))
    command = [sys.executable, "-m", "sgjax.launch_server", "--model-path", str(folder)]
    command += ["--load-format", "dummy", "--skip-tokenizer-init", "--port", "31007"]
    command += ["--context-length", "16384", "--log-level-http", "warning"]
    command += ["--tp-size", str(request.param)]
    begin = time.monotonic()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XLA_PYTHON")}
    with subprocess.Popen(command, env=environment) as process:
        try:
            for path in ("/health", "/health/ready"):
                _wait_for(path, process)
                print(f"{path}: {time.monotonic() - begin:.1f} s after the start")
            yield process
        finally:
            process.terminate()
            assert process.wait(60) == 0


def _wait_for(path, process):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server has ended"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(URL + path).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"{path} is not good after {START_S} s")


async def stream(client, prompt, count):
    """One request: its output ids, seconds to the first, and in all."""
    body = {
        "input_ids": prompt,
        "stream": True,
        "sampling_params": {"temperature": 0, "max_new_tokens": count, "ignore_eos": True},
    }
    begin, first, last = time.perf_counter(), None, None
    async with client.stream("POST", "/generate", json=body) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                first = first or time.perf_counter() - begin
                last = json.loads(line[6:])
    assert "error" not in last, last
    assert last["meta_info"]["finish_reason"]["type"] == "length"
    assert len(last["output_ids"]) == count
    return last["output_ids"], first, time.perf_counter() - begin


def prompts(count, length, seed):
    chance = random.Random(seed)
    return [[chance.randrange(1000, 120000) for _ in range(length)] for _ in range(count)]


def run_all(requests, count):
    async def main():
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(base_url=URL, timeout=600, limits=limits) as client:
            return await asyncio.gather(*(stream(client, prompt, count) for prompt in requests))

    return asyncio.run(main())


def metrics():
    lines = [line for line in httpx.get(URL + "/metrics").text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_256_streams_get_all_their_tokens_and_nothing_compiles(server):
    begin = time.perf_counter()
    results = run_all(prompts(STREAMS, 1024, seed=1), 128)
    seconds = time.perf_counter() - begin
    first = statistics.median(first for _, first, _ in results)
    print(f"{STREAMS} x (1024 in, 128 out): {seconds:.2f} s, median first token {first:.2f} s")
    again = run_all(prompts(STREAMS, 1024, seed=1)[:8], 128)
    same = sum(a[0] == b[0] for a, b in zip(again, results, strict=False))
    print(f"{same} of 8 give the same tokens from the cache, in a smaller batch")
    found = metrics()
    for part in ("plan", "step"):
        seconds, steps = (found[f"sgjax_{part}_seconds_{name}"] for name in ("sum", "count"))
        print(f"{part}: {seconds / steps * 1e3:.2f} ms a step, of {steps:.0f} steps")
    assert found["sgjax_compiles_after_ready_total"] == 0


def test_decode_steps_take_as_long_as_they_take(server):
    for batch in (1, 8, 32, 64, 128, 256):
        requests = prompts(batch, 1024, seed=100 + batch)
        run_all(requests, 1)
        times = []
        for count in (1, 129, 1, 129):
            begin = time.perf_counter()
            run_all(requests, count)
            times.append(time.perf_counter() - begin)
        step = (min(times[1], times[3]) - min(times[0], times[2])) / 128
        print(f"decode step at batch {batch}: {step * 1e3:.2f} ms (through the server)")

"""Mixed requests, bad ones, and readers that leave, on a server with a tiny pool: nothing may stay.

make soak    # 30 minutes; in the suite it takes as many seconds as --soak-seconds says
"""

import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import time

import httpx
import pytest

WORKERS = 12
QUESTIONS = [
    "What is the capital of France?",
    "List 3 countries and their capitals.",
    "What is 7 plus 5?",
    "Tell me a story about a fox. " * 8,
    "Name two sights of Rome.",
]


@pytest.fixture
def server(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", port, "--max-total-tokens", 640, "--page-size", 4]
    options += ["--max-running-requests", 8, "--chunked-prefill-size", 64]
    options += ["--schedule-conservativeness", 0.1]  # retractions are wanted
    options += ["--max-queued-requests", 10, "--log-level-http", "warning"]
    options += ["--tool-call-parser", "hermes"]
    command = [
        sys.executable,
        "-m",
        "sgjax.launch_server",
        "--model-path",
        "demo",
        *map(str, options),
    ]
    path = tmp_path / "log"
    with path.open("w") as log, subprocess.Popen(command, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(url, process, path)
            yield Server(url, process)
        finally:
            process.terminate()
            assert process.wait(60) == 0


def _wait_until_ready(url, process, log):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("not ready after four minutes")


class Server:
    def __init__(self, url, process):
        self.url = url
        self.pids = [process.pid, *_children(process.pid)]
        assert len(self.pids) == 2, "the front and its engine"

    def held(self):
        """Threads and descriptors of both processes."""
        proc = [pathlib.Path(f"/proc/{pid}") for pid in self.pids]
        return [len(list((at / kind).iterdir())) for at in proc for kind in ("task", "fd")]

    def metrics(self):
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        values = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in values}


def _children(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


class Worker:
    """Makes one request after the other, of all kinds; counts what came of them."""

    def __init__(self, client, seed, counts):
        self.client, self.random, self.counts = client, random.Random(seed), counts
        self.actions = [self.chat, self.stream, self.leave, self.abort, self.many, self.bad]
        self.actions += [self.bound, self.leave_bound, self.call]

    async def run(self, deadline):
        while time.monotonic() < deadline:
            action = self.random.choice(self.actions)
            self.counts[await action()] += 1

    def body(self):
        chance = self.random
        body = {
            "messages": [{"role": "user", "content": chance.choice(QUESTIONS)}],
            "max_tokens": chance.choice([1, 8, 40]),
            "temperature": chance.choice([0, 0.8]),
        }
        extras = {
            "stop": ["capital", "\n"],
            "logprobs": True,
            "seed": 5,
            "top_k": 20,
            "frequency_penalty": 0.5,
            "logit_bias": {"100": 2},
            "min_tokens": 1,
        }
        chosen = chance.sample(sorted(extras), chance.randrange(4))
        return body | {name: extras[name] for name in chosen}

    async def post(self, path, body, allowed):
        response = await self.client.post(path, json=body)
        assert response.status_code in allowed, response.text
        return f"{path} {response.status_code}"

    async def chat(self):
        return await self.post("/v1/chat/completions", self.body(), {200, 429})

    async def many(self):
        body = {
            "text": self.random.choice(QUESTIONS),
            "sampling_params": {"n": 3, "max_new_tokens": 12, "temperature": 1.0},
        }
        return await self.post("/generate", body, {200, 429})

    def bound_body(self):
        """One in three has a grammar that nobody had before."""
        chance = self.random
        number = chance.randrange(10**6) if chance.random() < 0.33 else 7
        properties = {f"key {number}": {"type": "integer"}, "name": {"enum": ["a", "b"]}}
        schema = {
            "type": "object",
            "properties": properties,
            "required": [*properties],
            "additionalProperties": False,
        }
        binding = chance.choice(
            [
                {"response_format": {"type": "json_object"}},
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "x", "schema": schema},
                    }
                },
                {"regex": f"[a-z ]{{3,20}} {number}"},
                {"structured_outputs": {"choice": ["yes", "no", f"number {number}"]}},
            ]
        )
        return {
            "messages": [{"role": "user", "content": chance.choice(QUESTIONS)}],
            "max_tokens": chance.choice([1, 8, 40]),
            "temperature": chance.choice([0, 0.8]),
            "logprobs": chance.random() < 0.3,
            **binding,
        }

    async def bound(self):
        return "bound " + await self.post("/v1/chat/completions", self.bound_body(), {200, 429})

    async def leave_bound(self):
        return "bound " + await self.leave(self.bound_body())

    async def call(self):
        properties = {"city": {"type": "string", "maxLength": 8}}
        function = {"name": "weather", "parameters": {"type": "object", "properties": properties}}
        body = {
            "messages": [{"role": "user", "content": "How is the weather in Rome?"}],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "max_tokens": 60,
        }
        return "call " + await self.post("/v1/chat/completions", body, {200, 429})

    async def bad(self):
        bodies = [
            {"text": "x" * 40000},
            {"input_ids": [10**9]},
            {"text": "a", "sampling_params": {"temperature": -1}},
            {"text": "a", "sampling_params": {"max_new_tokens": -1}},
            {"text": "a", "sampling_params": {"regex": "("}},
            {"text": "a", "sampling_params": {"json_schema": {"$ref": "#/nowhere"}}},
            {},
        ]
        return await self.post("/generate", self.random.choice(bodies), {400, 429})

    async def stream(self):
        body = self.body() | {"stream": True}
        async with self.client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code == 429:
                return "stream 429"
            assert response.status_code == 200
            lines = [line async for line in response.aiter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert "error" not in json.loads(lines[-2][6:])
        return "stream 200"

    async def leave(self, body=None):
        free = self.body() | {"max_tokens": 200, "ignore_eos": True}
        body = (body or free) | {"stream": True}
        after = self.random.randrange(6)
        async with self.client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code == 429:
                return "leave 429"
            async for _ in response.aiter_lines():
                if not after:
                    break
                after -= 1
        return "leave"

    async def abort(self):
        rid = f"a{self.random.random()}"
        params = {"max_new_tokens": 200, "ignore_eos": True}
        body = {"text": "Once upon a time,", "rid": rid, "sampling_params": params}
        request = asyncio.create_task(self.post("/generate", body, {200, 400, 429}))
        await asyncio.sleep(self.random.random() * 0.1)
        await self.post("/abort_request", {"rid": rid}, {200})
        return f"abort: {await request}"


async def work(url, seconds, counts):
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        deadline = time.monotonic() + seconds
        workers = [Worker(client, seed, counts) for seed in range(WORKERS)]
        await asyncio.gather(*(worker.run(deadline) for worker in workers))


async def fill_threads(url):
    """Has more long texts tokenised at a time than there are threads to do it."""
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        body = {"text": "x" * 40000}
        await asyncio.gather(*(client.post("/generate", json=body) for _ in range(64)))


def idle_metrics(server):
    """The metrics once nothing runs any more."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        metrics = server.metrics()
        if not metrics["sgjax_num_running_requests"] and not metrics["sgjax_num_queued_requests"]:
            return metrics
        time.sleep(0.1)
    raise AssertionError("requests still run ten seconds after the last client left")


def test_a_long_run_leaves_no_page_thread_or_descriptor_and_compiles_nothing(server, request):
    seconds = request.config.getoption("--soak-seconds")
    counts = collections.Counter()
    asyncio.run(work(server.url, min(seconds / 2, 20), counts))
    asyncio.run(fill_threads(server.url))
    idle_metrics(server)
    before = server.held()
    asyncio.run(work(server.url, seconds, counts))
    metrics = idle_metrics(server)
    print(dict(counts))
    print({name: value for name, value in metrics.items() if "bucket" not in name})
    assert metrics["sgjax_num_used_pages"] == 0
    assert metrics["sgjax_page_imbalances_total"] == 0
    assert metrics["sgjax_compiles_after_ready_total"] == 0
    assert metrics["sgjax_failed_requests_total"] == 0
    deadline = time.monotonic() + 10
    while (after := server.held()) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert all(b <= a for a, b in zip(before, after, strict=True)), (before, after)
    assert os.path.exists(f"/proc/{server.pids[1]}")

"""What prefixes cost the host: finding them, sharing them, giving them up. No device is needed."""

import dataclasses
import itertools
import random
import statistics
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from sgjax.cache.prefix_cache import PrefixCache
from sgjax.engine.batch import Batch, StepResults
from sgjax.engine.buckets import ACCELERATOR, make_buckets, pick
from sgjax.engine.limits import Limits
from sgjax.engine.request import Request
from sgjax.engine.scheduler import Scheduler
from sgjax.engine.step import CacheShape, pack_forward
from sgjax.sampling_params import SamplingParams

TREE_TOKENS = 1 << 20
SHARED, OWN = 4096, 64
"""Tokens of a prompt that are cached, and those that are not."""


class Engine:
    """A scheduler whose steps are planned, packed and read, but never computed."""

    def __init__(self, *, page_size: int, num_slots: int = 512, policy: Any = "lpm"):
        num_pages = 2 * TREE_TOKENS // page_size
        self.limits = Limits(
            num_pages=num_pages,
            page_size=page_size,
            num_slots=num_slots,
            max_step_tokens=8192,
            max_prefill_tokens=16384,
            max_logits=1024,
            context_length=131072,
            max_pages_per_request=131072 // page_size,
            max_queued=1 << 20,
        )
        self.shape = CacheShape(num_pages, page_size, num_slots, 131072 // page_size)
        self.cache = PrefixCache(num_pages, page_size)
        self.scheduler = Scheduler(self.limits, self.cache, policy=policy)
        self.buckets = make_buckets(ACCELERATOR, max_rows=num_slots, max_tokens=8192)
        self._names = itertools.count()

    def request(self, prompt: list[int], max_new_tokens: int = 1) -> Request:
        params = SamplingParams(temperature=0.0, max_new_tokens=max_new_tokens)
        tokens = array("i", prompt)
        return Request(f"r{next(self._names)}", tokens, params, max_new_tokens=max_new_tokens)

    def plan(self) -> Batch | None:
        """Plans the next step, and packs it."""
        batch = self.scheduler.schedule()
        if batch is not None:
            pack_forward(batch, pick(self.buckets, batch), self.shape)
        return batch

    def read(self, batch: Batch) -> None:
        self.scheduler.update(batch, StepResults(np.full(batch.num_logits, 7, np.int32)))

    def run(self) -> None:
        while (batch := self.plan()) is not None:
            self.read(batch)

    def fill(self, prompts: Iterable[list[int]]) -> None:
        """Leaves these prompts in the tree, which nobody uses then."""
        for prompt in prompts:
            self.scheduler.add(self.request(prompt))
            self.run()


class Tokens:
    """Random ids; equal in every run."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def __call__(self, count: int) -> list[int]:
        return self._random.choices(range(1000, 120000), k=count)


@dataclasses.dataclass
class Times:
    """Microseconds of this thread's processor time, by name: others who run make it no worse."""

    by_name: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def time(self, name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = time.thread_time()
        result = work(*arguments)
        self.by_name.setdefault(name, []).append((time.thread_time() - start) * 1e6)
        return result

    def show(self, title: str) -> None:
        print(f"{title}, µs: median, 95th percentile, worst")
        for name, values in self.by_name.items():
            middle, high = statistics.median(values), float(np.percentile(values, 95))
            print(f"  {name:34}{middle:9.1f}{high:9.1f}{max(values):10.1f}")


def measure_hits(page_size: int) -> Times:
    """Requests one by one, each with a prefix that is cached, of 256 in a tree of a million tokens:
    branches of 2048 tokens, each going on in 15 ways."""
    engine, tokens, times = Engine(page_size=page_size), Tokens(), Times()
    prompts = []
    for _ in range(16 * TREE_TOKENS // SHARED // 31 + 1):
        stem = tokens(SHARED // 2)
        prompts += [stem + tokens(SHARED // 2) for _ in range(15)]
    engine.fill(prompts)
    for prompt in prompts[-1 :: -max(len(prompts) // 200, 1)]:
        request = engine.request(prompt[:-1] + tokens(OWN), 2)
        times.time("arrive", engine.scheduler.add, request)
        times.time("find", engine.cache.locate, request, request.hit_limit)
        batch = times.time("plan and pack the first step", engine.plan)
        times.time("read it", engine.read, batch)
        batch = engine.plan()
        times.time("read the last step, and release", engine.read, batch)
    return times


def measure_burst(page_size: int) -> Times:
    """256 requests at once, that share a cached prefix: steps until each has its first token."""
    times = Times()
    for _ in range(5):
        engine, tokens = Engine(page_size=page_size), Tokens()
        shared = tokens(SHARED)
        engine.fill([shared])
        for _ in range(256):
            request = engine.request(shared + tokens(OWN), 32)
            times.time("arrive", engine.scheduler.add, request)
        start = time.thread_time()
        while engine.scheduler.num_waiting:
            engine.read(times.time("plan and pack a step", engine.plan))
        times.by_name.setdefault("all steps", []).append((time.thread_time() - start) * 1e6)
    return times


def measure_eviction(page_size: int) -> Times:
    """A million tokens in leaves of 16, all used twice, given up a step's pages at a time."""
    engine, tokens, times = Engine(page_size=page_size), Tokens(), Times()
    cache, limit = engine.cache, 16 // page_size * page_size
    holders = [engine.request(tokens(16)) for _ in range(TREE_TOKENS // 16)]
    for holder in holders:
        cache.grow(holder, limit // page_size)
        cache.share(holder, limit)
        cache.release(holder, limit)
    cache.pool.take(cache.pool.num_free)
    for holder in holders:
        cache.extend(holder, limit)
        cache.release(holder, limit)
    while cache.tree.num_pages:
        count = min(8192 // page_size, cache.tree.num_pages)
        times.time("free the pages of 8192 tokens", cache.make_free, count)
        cache.pool.take(cache.pool.num_free)
    return times


def measure_queue(policy: str) -> Times:
    """1024 requests wait for 64 slots, with a tree of a million tokens, while the tree changes."""
    engine, tokens, times = Engine(page_size=16, num_slots=64, policy=policy), Tokens(), Times()
    stems = [tokens(SHARED) for _ in range(TREE_TOKENS // SHARED)]
    engine.fill(stems)
    for i in range(1024):
        cached = random.Random(i).randrange(SHARED)
        prompt = stems[i % len(stems)][:cached] + tokens(OWN)
        request = engine.request(prompt, random.Random(i).randrange(8, 64))
        times.time("arrive", engine.scheduler.add, request)
    while engine.scheduler.num_waiting:
        times.time("rank", engine.scheduler._waiting.ranked)
        engine.read(times.time("plan and pack a step", engine.plan))
    return times

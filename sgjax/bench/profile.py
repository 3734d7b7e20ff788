"""Where a step's time goes: the device's kernels by name, from a profile of some steps.

    python -m sgjax.bench.profile --shape llama-3.1-8b [--decode 1,64,256] [--prefill 1x8192]

"decode" steps have one new token a row, after --context tokens; a "prefill" of 8x2048 computes 8
prompts of 2048 tokens. A kernel is named by the operation that it was made for; "waiting" is the
time in which the device ran nothing, which the host, or launching, is to blame for.
"""

import argparse
import collections
import contextlib
import queue
import random
import re
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path

import jax

from sgjax.bench.shapes import shape_folder
from sgjax.config import ServeConfig
from sgjax.engine.engine import Engine
from sgjax.engine.messages import Command, Delta, Event, Submit, Tokens
from sgjax.engine.programs import Key
from sgjax.engine.sampler import Variant
from sgjax.engine.setup import prepare
from sgjax.engine.watchdog import Watchdog
from sgjax.sampling_params import SamplingParams

STEPS = 16
LINES = 14


class HandTurned:
    """An engine whose loop is turned step by step, by whoever wants to look at one."""

    def __init__(self, config: ServeConfig, sizes: set[int]):
        """Compiles what runs steps of about `sizes` tokens, and the largest."""
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._setup = prepare(config, lambda _: None)
        self._watchdog = Watchdog(600, print)
        self._engine = Engine(config, self._setup, self._inbox, self._take, self._watchdog)
        runner = self._setup.runner
        runner.load()
        wanted = [b for b in runner.blueprint.buckets if b.num_tokens in sizes and not b.shared]
        keys: set[Key] = set(runner.blueprint.serving_keys)
        for bucket in wanted:
            count = bucket.num_logits
            keys |= {("forward", bucket), ("sample", count, Variant.GREEDY)}
            keys |= {("logprobs", count), ("bias", count)}
        runner.programs.compile(keys, lambda *_: None)
        self._random = random.Random(0)
        self._counts: dict[str, int] = {}

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Delta):
                self._counts[event.rid] += len(event.token_ids)
            elif isinstance(event, Tokens):
                for rid in event.rids:
                    self._counts[rid] += 1

    def submit(self, rows: int, length: int, max_new_tokens: int) -> None:
        """New requests with random prompts of that length; the ones before are forgotten."""
        self._counts = {f"r{row}": 0 for row in range(rows)}
        params = SamplingParams(temperature=0.0, max_new_tokens=max_new_tokens, ignore_eos=True)
        for rid in self._counts:
            prompt = self._random.choices(range(self._setup.info.vocab_size), k=length)
            self._inbox.put(Submit(rid, array("i", prompt), params))

    def turn(self, times: int) -> None:
        for _ in range(times):
            self._engine.turn()

    def decode_until(self, count: int) -> None:
        """Turns until every request has that many tokens."""
        while min(self._counts.values()) < count:
            self._engine.turn()

    def finish(self) -> None:
        """Turns until nothing is left to do, and empties the cache."""
        while not (self._engine.is_idle and self._inbox.empty()):
            self._engine.turn()
        self._setup.scheduler.flush_cache()

    def close(self) -> None:
        self._engine.close()
        self._watchdog.close()


@contextlib.contextmanager
def profiled() -> Iterator[dict[str, float]]:
    """Seconds by kernel, and "all" from the first one's start to the last one's end."""
    found: dict[str, float] = collections.defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            yield found
        for path in Path(folder).rglob("*.xplane.pb"):
            _add_kernels(jax.profiler.ProfileData.from_file(str(path)), found)


def _add_kernels(data: jax.profiler.ProfileData, found: dict[str, float]) -> None:
    for plane in data.planes:
        if not plane.name.startswith("/device:"):
            continue
        starts, ends = [], []
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                found[_readable(event)] += event.duration_ns / 1e9
                starts.append(event.start_ns)
                ends.append(event.start_ns + event.duration_ns)
        if starts:
            found["all"] += (max(ends) - min(starts)) / 1e9


def _readable(event: jax.profiler.ProfileEvent) -> str:
    """The kernel's name, without the numbers that tell equal kernels of a program apart."""
    return re.sub(r"_\d+(?=$|[_.])", "", event.name)[:90]


def report(title: str, found: dict[str, float], steps: int) -> None:
    if "all" not in found:
        raise SystemExit("The profile names no kernels: this is for a GPU.")
    every = found.pop("all")
    wait = every - sum(found.values())
    print(f"\n{title}: {every / steps * 1e3:.3f} ms a step, waiting {wait / steps * 1e6:.0f} us")
    ranked = sorted(found.items(), key=lambda item: -item[1])
    for name, seconds in ranked[:LINES]:
        print(f"  {seconds / steps * 1e6:9.1f} us  {seconds / every:6.1%}  {name}")
    rest = sum(seconds for _, seconds in ranked[LINES:])
    others = max(0, len(ranked) - LINES)
    print(f"  {rest / steps * 1e6:9.1f} us  {rest / every:6.1%}  {others} others", flush=True)


def profile_decode(engine: HandTurned, rows: int, context: int) -> None:
    engine.submit(rows, context, max_new_tokens=2 * STEPS + rows * context // 1024)
    engine.decode_until(8)
    with profiled() as found:
        engine.turn(STEPS)
    report(f"decode, {rows} rows of {context}", found, STEPS)
    engine.finish()


def profile_prefill(engine: HandTurned, rows: int, length: int) -> None:
    engine.submit(rows, length, max_new_tokens=1)
    engine.finish()
    engine.submit(rows, length, max_new_tokens=1)
    with profiled() as found:
        engine.finish()
    report(f"prefill, {rows} prompts of {length} (not a step, but all of it)", found, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="llama-3.1-8b")
    parser.add_argument("--context-length", type=int, default=16384)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--decode", default="1,64,256")
    parser.add_argument("--prefill", default="1x8192,32x1024")
    options = parser.parse_args()
    decode = [int(rows) for rows in filter(None, options.decode.split(","))]
    prefill = [
        (int(rows), int(length))
        for rows, length in (text.split("x") for text in filter(None, options.prefill.split(",")))
    ]
    with shape_folder(options.shape) as folder:
        config = ServeConfig(
            model_path=str(folder),
            load_format="dummy",
            skip_tokenizer_init=True,
            context_length=options.context_length,
        )
        engine = HandTurned(config, {*decode, *(rows * length for rows, length in prefill)})
    for rows in decode:
        profile_decode(engine, rows, options.context)
    for rows, length in prefill:
        profile_prefill(engine, rows, length)
    engine.close()


if __name__ == "__main__":
    main()

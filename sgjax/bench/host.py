"""What steps cost the host: planning, packing, reading results, prefixes, with no device at all.

    python -m sgjax.bench.host [decode hits burst evict queue] [--rows 1 64 256] [--steps 500]

decode: steps of rows that decode. hits, burst, evict, queue: what the prefix tree costs; see
sgjax.bench.prefixes.
"""

import argparse
import statistics
import time
from array import array

import numpy as np

from sgjax.bench import prefixes
from sgjax.cache.prefix_cache import PrefixCache
from sgjax.engine.batch import StepResults
from sgjax.engine.buckets import ACCELERATOR, make_buckets, pick
from sgjax.engine.request import Request
from sgjax.engine.sample_step import SampleParams, pack_sample
from sgjax.engine.scheduler import Limits, Scheduler
from sgjax.engine.step import CacheShape, pack_forward
from sgjax.sampling_params import SamplingParams

CASES = ("decode", "hits", "burst", "evict", "queue")
PARTS = ("schedule", "pack forward", "pack sample", "update")


def measure(num_rows: int, num_steps: int) -> dict[str, list[float]]:
    """Microseconds of each part, a value a step, while `num_rows` requests decode."""
    shape = CacheShape(
        num_pages=num_rows * (1024 + num_steps) // 16 + 2 * num_rows,
        page_size=16,
        num_slots=num_rows,
        max_pages_per_request=8192,
    )
    buckets = make_buckets(ACCELERATOR, max_rows=num_rows, max_tokens=8192)
    limits = Limits(
        num_pages=shape.num_pages,
        page_size=shape.page_size,
        num_slots=num_rows,
        max_step_tokens=8192,
        max_prefill_tokens=16384,
        max_logits=1024,
        context_length=131072,
        max_pages_per_request=8192,
        max_queued=num_rows,
    )
    scheduler = Scheduler(limits, PrefixCache(shape.num_pages, shape.page_size))
    random = np.random.default_rng(0)
    for i in range(num_rows):
        prompt = array("i", random.integers(1000, 120000, 1024).tolist())
        params = SamplingParams(temperature=0.8, max_new_tokens=num_steps + 1)
        request = Request(f"r{i}", prompt, params, max_new_tokens=num_steps + 1)
        scheduler.add(request)
    parts: dict[str, list[float]] = {name: [] for name in PARTS}
    sample_params = SampleParams(num_rows)
    pending = None
    while scheduler.has_work:
        times = [time.perf_counter()]
        batch = scheduler.schedule()
        times.append(time.perf_counter())
        if batch is not None:
            bucket = pick(buckets, batch)
            pack_forward(batch, bucket, shape)
            times.append(time.perf_counter())
            for request in batch.restarted:
                sample_params.set(request)
            pack_sample(batch, bucket, shape, sample_params)
            times.append(time.perf_counter())
        if pending is not None:
            results = StepResults(np.full(pending.num_logits, 7, np.int32))
            start = time.perf_counter()
            scheduler.update(pending, results)
            if batch is not None and batch.only_decodes and len(batch.requests) == num_rows:
                for name, seconds in zip(PARTS, np.diff(times), strict=False):
                    parts[name].append(seconds * 1e6)
                parts["update"].append((time.perf_counter() - start) * 1e6)
        pending = batch
    return parts


def show_decode(num_rows: int, num_steps: int) -> None:
    parts = measure(num_rows, num_steps)
    print(f"{num_rows} decoding rows, µs a step: median (95th percentile)")
    for name, values in parts.items():
        print(f"  {name:14}{statistics.median(values):8.0f} ({np.percentile(values, 95):.0f})")
    totals = [sum(step) for step in zip(*parts.values(), strict=True)]
    print(f"  {'in all':14}{statistics.median(totals):8.0f} ({np.percentile(totals, 95):.0f})")


def show_prefixes(case: str) -> None:
    if case == "queue":
        for policy in ("lpm", "dfs-weight"):
            prefixes.measure_queue(policy).show(f"1024 waiting, policy {policy}")
        return
    measure, what = {
        "hits": (prefixes.measure_hits, "4096 tokens found in a tree of a million, 64 new"),
        "burst": (prefixes.measure_burst, "256 at once share 4096 cached tokens, 64 new each"),
        "evict": (prefixes.measure_eviction, "a million tokens in leaves of 16, given up"),
    }[case]
    for page_size in (1, 16):
        measure(page_size).show(f"{what}, pages of {page_size}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", default=list(CASES))
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    for case in options.cases:
        if case not in CASES:
            parser.error(f"there is no case {case!r}; there are {', '.join(CASES)}")
        if case == "decode":
            for num_rows in options.rows:
                show_decode(num_rows, options.steps)
        else:
            show_prefixes(case)


if __name__ == "__main__":
    main()

"""What Prometheus is told: the engine's snapshot at each scrape, and the front's own timings."""

import bisect
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import generate_latest

from sgjax.engine.messages import EngineStats

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120)
_GAP_SECONDS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 5)

_COUNTERS = {
    # name: (field of EngineStats, help)
    "sgjax_prompt_tokens": ("prompt_tokens", "Tokens of prompts"),
    "sgjax_cached_tokens": ("cached_tokens", "Tokens of prompts that were found in the cache"),
    "sgjax_generated_tokens": ("generated_tokens", "Tokens generated"),
    "sgjax_finished_requests": ("finished_requests", "Requests that ended by themselves"),
    "sgjax_aborted_requests": ("aborted_requests", "Requests that were aborted"),
    "sgjax_failed_requests": ("failed_requests", "Requests that the engine failed on"),
    "sgjax_retractions": ("retractions", "Requests put back into the queue for want of pages"),
    "sgjax_compiles": ("compiles", "Programs compiled"),
    "sgjax_compiles_after_ready": ("compiles_after_ready", "Programs compiled too late; stays 0"),
    "sgjax_page_imbalances": ("page_imbalance", "Times that pages did not add up; stays 0"),
}


class Histogram:
    """Counts by upper bound. An observation costs one bisection, cheap enough for every token."""

    def __init__(self, bounds: tuple[float, ...]):
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        self._counts[bisect.bisect_left(self._bounds, seconds)] += count
        self._sum += seconds * count

    def family(self, name: str, help: str) -> HistogramMetricFamily:
        buckets, total = [], 0
        for bound, count in zip([*self._bounds, "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        return HistogramMetricFamily(name, help, buckets, self._sum)


class Metrics:
    """The metrics of one app, in a registry of its own. Is the generator's Observer."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.http_requests = Counter(
            "sgjax_http_requests",
            "Requests answered, by route and status",
            ["route", "status"],
            registry=self.registry,
        )
        self._first_token = Histogram(_SECONDS)
        self._gap = Histogram(_GAP_SECONDS)
        self._whole = Histogram(_SECONDS)
        self._stats: EngineStats | None = None
        self.registry.register(self)

    def saw_first_token(self, since_submit_s: float) -> None:
        self._first_token.observe(since_submit_s)

    def saw_next_tokens(self, since_last_s: float, num_tokens: int) -> None:
        self._gap.observe(since_last_s / num_tokens, num_tokens)

    def saw_end(self, since_submit_s: float, reason: str) -> None:
        self._whole.observe(since_submit_s)

    def exposition(self, stats: EngineStats | None) -> bytes:
        """The text for a scrape. `stats`: the engine's snapshot; None if it is dead."""
        self._stats = stats
        return generate_latest(self.registry)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield self._first_token.family("sgjax_time_to_first_token_seconds", "To the first token")
        yield self._gap.family("sgjax_inter_token_latency_seconds", "Between two tokens")
        yield self._whole.family("sgjax_e2e_request_latency_seconds", "To the last token")
        yield GaugeMetricFamily(
            "sgjax_engine_alive", "1 while the engine lives", int(self._stats is not None)
        )
        if self._stats is not None:
            yield from _gauges(self._stats)
            yield from _counters(self._stats)


def _gauges(stats: EngineStats) -> Iterator[Metric]:
    used = stats.num_pages - stats.num_free_pages - stats.num_cached_pages
    values = {
        "sgjax_num_running_requests": ("Requests being computed", stats.num_running),
        "sgjax_num_queued_requests": ("Requests that wait", stats.num_waiting),
        "sgjax_num_pages": ("Pages of the cache", stats.num_pages),
        "sgjax_num_used_pages": ("Pages that requests hold", used),
        "sgjax_num_cached_pages": ("Pages kept for prefixes to come", stats.num_cached_pages),
        "sgjax_cached_token_ratio": (
            "Share of prompt tokens found in the cache",
            stats.cached_tokens / max(stats.prompt_tokens, 1),
        ),
        "sgjax_engine_ready": ("1 once every program is compiled", int(stats.ready)),
    }
    for name, (help, value) in values.items():
        yield GaugeMetricFamily(name, help, value)


def _counters(stats: EngineStats) -> Iterator[Metric]:
    for name, (field, help) in _COUNTERS.items():
        yield CounterMetricFamily(name, help, getattr(stats, field))
    yield SummaryMetricFamily(
        "sgjax_step_seconds", "Steps, launch to results read", stats.steps, stats.step_seconds
    )
    yield SummaryMetricFamily(
        "sgjax_plan_seconds", "Planning of steps on the host", stats.steps, stats.plan_seconds
    )

"""From the times of streams to figures and curves."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sgjax.bench.report import Curve, Figure
from sgjax.bench.serving.outcome import Outcome

PERCENTILES = (50, 90, 99)
CURVE_POINTS = 101
TIMELINE_BINS = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """A request is good if its first token comes within the one, and the rest, on average, within
    the other of each other. None: any."""

    ttft_ms: float | None = None
    itl_ms: float | None = None

    @property
    def is_given(self) -> bool:
        return self.ttft_ms is not None or self.itl_ms is not None

    def hold(self, outcome: Outcome) -> bool:
        if self.ttft_ms is not None and outcome.ttft_s * 1e3 > self.ttft_ms:
            return False
        itl = outcome.tpot_s
        return self.itl_ms is None or itl is None or itl * 1e3 <= self.itl_ms


def serving_figures(outcomes: Sequence[Outcome], seconds: float, limits: Limits) -> list[Figure]:
    """Throughput and latencies of requests that went well, within `seconds` of measuring."""
    figures = [
        _rate("requests", len(outcomes), seconds),
        _rate("input tokens", sum(outcome.num_prompt or 0 for outcome in outcomes), seconds),
        _rate("output tokens", sum(outcome.output_tokens for outcome in outcomes), seconds),
    ]
    if limits.is_given:
        good = sum(limits.hold(outcome) for outcome in outcomes)
        figures.append(_rate("good requests", good, seconds))
    for name, values in latencies_ms(outcomes).items():
        figures += distribution(name, values)
    return figures


def latencies_ms(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    """Milliseconds: to the first token, between tokens, a token after the first, and in all."""
    return {
        "ttft": [outcome.ttft_s * 1e3 for outcome in outcomes],
        "itl": [gap * 1e3 for outcome in outcomes for gap in outcome.itl_s],
        "tpot": [tpot * 1e3 for outcome in outcomes if (tpot := outcome.tpot_s) is not None],
        "e2e": [outcome.e2e_s * 1e3 for outcome in outcomes],
    }


def serving_curves(outcomes: Sequence[Outcome]) -> list[Curve]:
    """How latencies are distributed, and how many tokens came when."""
    share = np.linspace(0, 100, CURVE_POINTS)
    curves = [
        Curve(
            name=name, x_label="ms", y_label="% at most",
            x=np.percentile(values, share).tolist(), y=share.tolist(),
        )
        for name, values in latencies_ms(outcomes).items()
        if values
    ]  # fmt: skip
    return [*curves, _timeline(outcomes)]


def _timeline(outcomes: Sequence[Outcome]) -> Curve:
    """Tokens a second over time; an event counts for as many tokens as its stream's do on
    average."""
    begin = min(outcome.begin for outcome in outcomes)
    times = np.concatenate([outcome.times for outcome in outcomes]) - begin
    weights = np.concatenate(
        [np.full(len(each.times), each.output_tokens / len(each.times)) for each in outcomes]
    )
    counts, edges = np.histogram(times, bins=TIMELINE_BINS, weights=weights)
    return Curve(
        name="output tokens",
        x_label="s",
        y_label="tokens/s",
        x=((edges[1:] + edges[:-1]) / 2).tolist(),
        y=(counts / np.diff(edges)).tolist(),
    )


def _rate(what: str, count: int, seconds: float) -> Figure:
    return Figure(
        name=what.replace(" ", "-"), value=count / seconds, unit=f"{what}/s", is_more_better=True
    )


def distribution(name: str, values: Sequence[float]) -> list[Figure]:
    """The mean and percentiles of milliseconds; nothing of none."""
    if not values:
        return []
    found = {"mean": float(np.mean(values))}
    found |= {f"p{q}": float(np.percentile(values, q)) for q in PERCENTILES}
    return [
        Figure(name=f"{name}-{part}", of=name, part=part, value=value, unit="ms")
        for part, value in found.items()
    ]

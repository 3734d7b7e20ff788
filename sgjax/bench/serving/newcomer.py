"""A long prompt that comes while others decode: how much longer they wait for their tokens."""

import asyncio
import itertools
from collections.abc import Callable, Sequence

from sgjax.bench.report import Figure
from sgjax.bench.serving.latencies import distribution
from sgjax.bench.serving.outcome import Outcome
from sgjax.errors import BenchmarkFailed

STEADY_EVENTS = 32
"""All others must have had so many before the newcomer comes."""
_LOOK_EVERY_S = 0.005


async def until_steady(live: Callable[[], Sequence[Outcome]]) -> None:
    """Waits until all that is under way decodes, and has done so for a while."""
    while not (now := live()) or any(len(each.times) < STEADY_EVENTS for each in now):
        await asyncio.sleep(_LOOK_EVERY_S)


def newcomer_figures(newcomer: Outcome | None, others: Sequence[Outcome]) -> list[Figure]:
    """Milliseconds between tokens of the others, before the newcomer came and until it had its
    first token; how many times longer that was; and how long the newcomer waited itself.

    Raises:
        BenchmarkFailed: it never came, it failed, or the others were over too soon.
    """
    if newcomer is None:
        raise BenchmarkFailed(
            f"The long prompt was not sent: never had all that was under way {STEADY_EVENTS} "
            "tokens. Raise --output-len, or ask less at a time."
        )
    if newcomer.error is not None:
        raise BenchmarkFailed(f"The long prompt failed: {newcomer.error}")
    came, begun = newcomer.begin, newcomer.times[0]
    steady = max((each.times[0] for each in others if each.times[0] < came), default=came)
    gaps = [pair for each in others for pair in itertools.pairwise(each.times)]
    before = [(b - a) * 1e3 for a, b in gaps if a >= steady and b <= came]
    beside = [(b - a) * 1e3 for a, b in gaps if a < begun and b > came]
    if not before or not beside:
        raise BenchmarkFailed(
            "The others' answers were over before the long prompt was read. Raise --output-len."
        )
    if not sum(before):
        raise BenchmarkFailed("The others' tokens came all at once: there is no time between them.")
    slowdown = (sum(beside) / len(beside)) / (sum(before) / len(before))
    return [
        *distribution("itl-before", before),
        *distribution("itl-beside", beside),
        Figure(name="slowdown", value=slowdown, unit="x"),
        Figure(name="long-prompt-ttft", value=newcomer.ttft_s * 1e3, unit="ms"),
    ]

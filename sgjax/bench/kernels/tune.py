"""A search for the fastest block sizes: from those there are, by steps that pay."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sgjax.errors import BenchmarkFailed

Candidates = Mapping[str, Sequence[int]]
"""The values that each field of the sizes may have, in order."""

PAYS = 0.99
"""A candidate is taken if it needs at most this share of the time of the best: less is noise."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What came of one candidate: the seconds of each case, or why there are none."""

    seconds: tuple[float, ...] = ()
    failure: str | None = None
    is_wrong: bool = False
    """Whether it failed by its result, and not because it cannot run here."""

    def share_of(self, other: "Trial") -> float:
        """Its time as a share of the other's: the geometric mean over the cases."""
        if self.failure is not None:
            return math.inf
        logs = [math.log(a / b) for a, b in zip(self.seconds, other.seconds, strict=True)]
        return math.exp(sum(logs) / len(logs))


@dataclasses.dataclass(frozen=True, slots=True)
class Tuned:
    """The end of a search."""

    start: Any
    best: Any
    trials: Mapping[Any, Trial]
    is_whole: bool
    """Whether the search came to its end, and was not stopped before."""

    @property
    def speedup(self) -> float:
        """How many times faster than the start the best is."""
        return 1 / self.trials[self.best].share_of(self.trials[self.start])

    @property
    def wrong(self) -> dict[Any, str]:
        """Candidates with results that are not the reference's."""
        return {sizes: str(t.failure) for sizes, t in self.trials.items() if t.is_wrong}


def search(
    start: Any,
    candidates: Candidates,
    try_all: Callable[[Sequence[Any]], Sequence[Trial]],
    may_go_on: Callable[[], bool] = lambda: True,
) -> Tuned:
    """The best of the sizes around `start`, a dataclass.

    Each round tries every value of every field by itself, and where none pays, two fields a step
    each; it goes on from the fastest. Of many candidates the fastest owes something to luck, so the
    winner has to win once more, against the start, measured anew.

    Raises:
        BenchmarkFailed: the start itself fails: there is nothing to compare with.
    """
    (first,) = try_all([start])
    if first.failure is not None:
        raise BenchmarkFailed(f"The block sizes there are now, {start}, fail: {first.failure}")
    trials: dict[Any, Trial] = {start: first}
    best, rounds = start, [_single(start, candidates), _double(start, candidates)]
    while rounds:
        untried = [sizes for sizes in dict.fromkeys(rounds.pop(0)) if sizes not in trials]
        if not may_go_on():
            break
        trials.update(zip(untried, try_all(untried), strict=True))
        fastest = min(untried, key=lambda s: trials[s].share_of(trials[best]), default=best)
        if trials[fastest].share_of(trials[best]) <= PAYS:
            best, rounds = fastest, [_single(fastest, candidates), _double(fastest, candidates)]
    if best != start:
        trials.update(zip((start, best), try_all([start, best]), strict=True))
        if trials[best].share_of(trials[start]) > PAYS:
            best = start
    return Tuned(start, best, trials, is_whole=not rounds)


def _single(sizes: Any, candidates: Candidates) -> Iterator[Any]:
    """All values of one field."""
    for name, values in candidates.items():
        for value in values:
            yield dataclasses.replace(sizes, **{name: value})


def _double(sizes: Any, candidates: Candidates) -> Iterator[Any]:
    """Two fields to values beside those they have."""
    for a, b in itertools.combinations(candidates, 2):
        for pair in itertools.product(_beside(sizes, a, candidates), _beside(sizes, b, candidates)):
            yield dataclasses.replace(sizes, **dict(zip((a, b), pair, strict=True)))


def _beside(sizes: Any, name: str, candidates: Candidates) -> list[int]:
    """The next lower and the next higher value of a field."""
    now = getattr(sizes, name)
    lower = [value for value in candidates[name] if value < now]
    higher = [value for value in candidates[name] if value > now]
    return [*lower[-1:], *higher[:1]]

"""The search for block sizes, on landscapes whose lowest point is known."""

import dataclasses

import pytest

from sgjax.bench.kernels.tune import Trial, search
from sgjax.errors import BenchmarkFailed


@dataclasses.dataclass(frozen=True)
class Sizes:
    rows: int = 32
    warps: int = 2
    stages: int = 1


CANDIDATES = {"rows": [16, 32, 64, 128], "warps": [1, 2, 4, 8], "stages": [1, 2, 3]}


def tuned(seconds, **options):
    """The search where sizes take `seconds(sizes)`: a number, numbers, or a Trial."""
    tried = []

    def try_all(batch):
        tried.extend(batch)
        found = [seconds(sizes) for sizes in batch]
        return [each if isinstance(each, Trial) else Trial(as_tuple(each)) for each in found]

    return search(Sizes(), CANDIDATES, try_all, **options), tried


def as_tuple(seconds):
    return seconds if isinstance(seconds, tuple) else (seconds,)


def test_fields_that_do_not_depend_on_each_other_are_found_one_by_one():
    best = Sizes(rows=128, warps=1, stages=3)
    found, _ = tuned(
        lambda sizes: 1 + sum(
            abs(CANDIDATES[name].index(getattr(sizes, name)) - CANDIDATES[name].index(value))
            for name, value in dataclasses.asdict(best).items()
        )
    )  # fmt: skip
    assert found.best == best
    assert found.speedup == pytest.approx(6.0)
    assert found.is_whole
    assert len(found.trials) < 4 * 4 * 3


def test_two_fields_that_pay_only_together_are_found():
    found, _ = tuned(lambda s: 1.0 if (s.rows, s.warps) == (64, 4) else 2.0)
    assert (found.best.rows, found.best.warps) == (64, 4)


def test_no_sizes_are_tried_twice_until_the_winner_has_to_win_again():
    found, tried = tuned(lambda sizes: 1 / sizes.rows)
    assert tried[-2:] == [found.start, found.best]
    assert len(set(tried[:-2])) == len(tried[:-2]) == len(found.trials)


def test_what_owed_its_time_to_luck_is_not_taken():
    seen = set()

    def seconds(sizes):
        is_first, _ = sizes not in seen, seen.add(sizes)
        return 0.5 if sizes.rows == 128 and is_first else 1.0

    found, _ = tuned(seconds)
    assert found.best == found.start
    assert found.speedup == 1.0


def test_less_than_a_percent_is_no_reason_to_change():
    found, _ = tuned(lambda sizes: 0.995 if sizes.stages == 2 else 1.0)
    assert found.best == Sizes()


def test_all_cases_count_alike_however_long_they_take():
    found, _ = tuned(lambda s: (1e-6 / s.stages**3, 1.0 * s.stages))
    assert found.best.stages == 3
    assert found.speedup == pytest.approx(3.0)


def test_wrong_results_are_never_taken_however_fast_and_are_told():
    def seconds(sizes):
        if sizes.rows == 128:
            return Trial((1e-9,), failure="a case is off by 0.3", is_wrong=True)
        if sizes.rows == 64:
            return Trial(failure="out of shared memory")
        return 1 / sizes.warps

    found, _ = tuned(seconds)
    assert found.best == Sizes(warps=8)
    assert {sizes.rows for sizes in found.wrong} == {128}
    assert "off by 0.3" in next(iter(found.wrong.values()))


def test_start_that_fails_is_nothing_to_compare_with():
    with pytest.raises(BenchmarkFailed, match=r"there are now.*rows=32.*no memory"):
        tuned(lambda sizes: Trial(failure="no memory"))


def test_stopped_search_keeps_the_best_so_far():
    rounds = iter([True, False])
    found, _ = tuned(lambda s: 1 / (s.rows * s.warps), may_go_on=lambda: next(rounds))
    assert not found.is_whole
    assert found.best in (Sizes(rows=128), Sizes(warps=8))

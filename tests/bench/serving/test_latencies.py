import pytest

from sgjax.bench.serving.latencies import Limits, serving_curves, serving_figures
from sgjax.bench.serving.outcome import Outcome


def outcome(*times, begin=0.0, prompt=10, output=None):
    done = Outcome(begin=begin, end=times[-1], times=list(times))
    done.num_prompt, done.num_output = prompt, output
    return done


def values(outcomes, seconds=2.0, **limits):
    figures = serving_figures(outcomes, seconds, Limits(**limits))
    return {figure.name: figure.value for figure in figures}


def test_figures_of_two_streams_are_as_reckoned_by_hand():
    found = values([outcome(0.1, 0.2, 0.4), outcome(1.3, 1.4, begin=1.0, prompt=20)])
    assert found["requests"] == 1.0
    assert found["input-tokens"] == 15.0
    assert found["output-tokens"] == 2.5
    assert found["ttft-mean"] == pytest.approx(200)
    assert found["ttft-p50"] == pytest.approx(200)
    assert found["ttft-p90"] == pytest.approx(280)
    assert found["itl-mean"] == pytest.approx((100 + 200 + 100) / 3)
    assert found["itl-p50"] == pytest.approx(100)
    assert found["tpot-mean"] == pytest.approx((150 + 100) / 2)
    assert found["e2e-p99"] == pytest.approx(400)


def test_a_token_that_shared_an_event_counts_but_waits_for_nobody():
    found = values([outcome(0.1, 0.4, output=4)])
    assert found["output-tokens"] == 2.0
    assert found["itl-mean"] == pytest.approx(300)
    assert found["tpot-mean"] == pytest.approx(100)


def test_answers_of_one_token_have_no_time_between_tokens():
    found = values([outcome(0.1)])
    assert "ttft-p50" in found and "itl-p50" not in found and "tpot-p50" not in found


def test_goodput_counts_what_keeps_both_limits():
    outcomes = [outcome(0.1, 0.2), outcome(0.3, 0.4), outcome(0.1, 0.9), outcome(0.1)]
    assert "good-requests" not in values(outcomes)
    assert values(outcomes, ttft_ms=200)["good-requests"] == 1.5
    assert values(outcomes, itl_ms=200)["good-requests"] == 1.5
    assert values(outcomes, ttft_ms=200, itl_ms=200)["good-requests"] == 1.0


def test_curves_go_from_the_least_to_the_largest_and_hold_all_tokens():
    outcomes = [outcome(0.1, 0.2, 0.4), outcome(1.3, 1.4, begin=1.0, output=4)]
    curves = {curve.name: curve for curve in serving_curves(outcomes)}
    assert curves["ttft"].x[0] == pytest.approx(100)
    assert curves["ttft"].x[-1] == pytest.approx(300)
    assert (curves["ttft"].y[0], curves["ttft"].y[-1]) == (0, 100)
    timeline = curves["output tokens"]
    step = timeline.x[1] - timeline.x[0]
    assert sum(timeline.y) * step == pytest.approx(3 + 4)

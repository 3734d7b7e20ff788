import asyncio
import json

import pytest

from sgjax.bench.serving.crowd import Crowd, Load
from sgjax.bench.serving.datasets import Turn, long_turn
from sgjax.bench.serving.forms import FORMS
from sgjax.bench.serving.newcomer import STEADY_EVENTS, newcomer_figures
from sgjax.bench.serving.outcome import Outcome
from sgjax.cli import main
from sgjax.errors import BenchmarkFailed
from tests.front.fakes import FakeEngineClient
from tests.server.live import live


def outcome(*times, begin=0.0, error=None):
    return Outcome(begin=begin, end=times[-1], times=list(times), error=error)


def test_others_wait_as_reckoned_by_hand():
    first = outcome(0.2, 0.4, 0.6, 0.8, 1.3, 1.8, 2.0, 2.2)
    late = outcome(0.5, 0.7, 0.9, 1.6, 1.8)
    newcomer = outcome(1.7, 1.75, begin=0.95)
    values = {f.name: f.value for f in newcomer_figures(newcomer, [first, late])}
    # Before: from 0.5, when all had begun. Beside: what lies between 0.95 and 1.7, at least partly.
    assert values["itl-before-mean"] == pytest.approx(200)
    assert values["itl-beside-mean"] == pytest.approx((500 + 500 + 700 + 200) / 4)
    assert values["slowdown"] == pytest.approx(475 / 200)
    assert values["long-prompt-ttft"] == pytest.approx(750)


@pytest.mark.parametrize(
    ("newcomer", "others", "said"),
    [
        (None, [outcome(0.1)], "was not sent: never had all"),
        (outcome(1.0, error="too long"), [outcome(0.1)], "failed: too long"),
        (outcome(9.0, begin=8.0), [outcome(0.1, 0.2)], "were over before"),
        (outcome(0.9, begin=0.4), [outcome(0.3, 0.3, 0.5)], "came all at once"),
    ],
)
def test_without_anybody_beside_it_there_is_no_figure(newcomer, others, said):
    with pytest.raises(BenchmarkFailed, match=said):
        newcomer_figures(newcomer, others)


class SlowClient:
    """Streams an event now and then; knows who was under way when each request came."""

    def __init__(self, num_events):
        self.num_events = num_events
        self.live = []
        self.seen = []

    async def stream(self, form, body, on_begin):
        done = Outcome(begin=0.0)
        self.seen.append((len(body["messages"][0]["content"]), [len(o.times) for o in self.live]))
        on_begin(done)
        self.live.append(done)
        for _ in range(self.num_events):
            await asyncio.sleep(0.001)
            done.times.append(0.0)
        self.live.remove(done)
        return done


def test_newcomer_is_sent_once_all_others_decode_and_counts_for_itself():
    client = SlowClient(STEADY_EVENTS * 3)
    crowd = Crowd(client, FORMS["chat"], {})
    run = asyncio.run(crowd.hold([[Turn("Hi", 5)]] * 3, Load(), newcomer=long_turn(50, None, 0)))
    (length, events), *others = sorted(client.seen, reverse=True)
    assert length > 100
    assert len(events) == 3 and min(events) >= STEADY_EVENTS
    assert {length for length, _ in others} == {2}
    assert len(run.outcomes) == 3
    assert run.newcomer is not None and run.newcomer not in run.outcomes


def test_newcomer_that_never_comes_keeps_nobody_waiting():
    crowd = Crowd(SlowClient(STEADY_EVENTS // 2), FORMS["chat"], {})
    run = asyncio.run(crowd.hold([[Turn("Hi", 5)]] * 3, Load(), newcomer=long_turn(50, None, 0)))
    assert run.newcomer is None and len(run.outcomes) == 3


class Waiting(FakeEngineClient):
    """A slow engine, whose answers pause until a long prompt was read."""

    def __init__(self):
        super().__init__("A text without an end. ")
        self.pause_after = 100

    async def recital(self, submit, wake):
        async for delta in super().recital(submit, wake):
            await asyncio.sleep(0.001)
            if len(submit.prompt_ids) == 150:
                self.go_on()
            yield delta


def test_long_prompt_is_reported_beside_the_others(tmp_path):
    path = tmp_path / "report.json"
    line = ["bench", "serving", "--num-prompts", "3", "--input-len", "8", "--output-len", "200"]
    with live(Waiting()) as server:
        args = ["--url", server.url, "--long-prompt", "150", "--json", str(path)]
        assert main([*line, *args]) == 0
        longest = max(server.client.submits, key=lambda submit: len(submit.prompt_ids))
    assert (len(longest.prompt_ids), longest.params.max_new_tokens) == (150, 1)
    names = {figure["name"] for figure in json.loads(path.read_text())["figures"]}
    assert {"itl-before-p50", "itl-beside-p99", "slowdown", "long-prompt-ttft"} <= names

"""Programs run once before they are needed: nothing that a step reads changes, and all have run."""

import jax
import numpy as np
import pytest

from tests.engine.lockstep import Lockstep
from tests.tiny import TinyLlama

PROMPT = [5, 9, 20, 30] * 5
MAIL = ("inbox", "outbox", "unread")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = Lockstep(
        model_path=str(TinyLlama().save(tmp_path_factory.mktemp("tiny"))),
        page_size=4,
        max_total_tokens=400,
        chunked_prefill_size=16,
        max_running_requests=4,
    )
    while not engine.setup.runner.programs.is_complete:
        engine.engine.turn()
    yield engine
    engine.close()


@pytest.fixture
def runner(engine):
    """As on a GPU: nothing has run yet."""
    runner = engine.setup.runner
    runner._cold = set(runner._buckets)
    return runner


def kept(runner):
    state = {name: x for name, x in vars(runner.state).items() if name not in MAIL}
    return [np.asarray(x) for x in jax.tree.leaves(state)]


def test_a_program_that_runs_ahead_changes_nothing(engine, runner):
    engine.generate(PROMPT)
    tokens = engine.deltas["one"].token_ids
    runner._cold = set(runner._buckets)
    before = kept(runner)
    count = len(runner._buckets)
    assert [runner.warm_up() for _ in range(count + 1)] == [True] * count + [False]
    assert runner.is_warm
    for old, new in zip(before, kept(runner), strict=True):
        np.testing.assert_array_equal(old, new)
    engine.generate(PROMPT)
    assert engine.deltas["one"].token_ids == tokens


def test_an_idle_engine_is_ready_when_all_have_run(engine, runner):
    engine.engine._ready = False
    for left in reversed(range(len(runner._buckets))):
        assert not engine.engine._ready
        engine.engine.turn()
        assert len(runner._cold) == left
    assert engine.engine._ready


def test_requests_do_not_wait_for_it(engine, runner):
    engine.engine._ready = False
    engine.submit("now", PROMPT, max_new_tokens=4)
    engine.engine.turn()
    engine.engine.turn()
    assert engine.engine._ready
    assert not runner.is_warm, "only what the request needed has run"
    engine.finish()
    while not runner.is_warm:
        engine.engine.turn()


def test_nothing_runs_while_something_is_measured(runner, monkeypatch):
    monkeypatch.setattr(runner.programs, "_asked", {"products"})
    assert not runner.warm_up()
    assert not runner.is_warm

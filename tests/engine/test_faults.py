"""A step that fails: whoever is to blame fails alone, all others get the tokens they would have."""

import dataclasses

import pytest

from tests.engine.lockstep import Lockstep
from tests.tiny import TinyLlama

MODEL = TinyLlama()


@pytest.fixture(scope="module", params=["overlap", "no overlap"])
def engine(request, tmp_path_factory):
    engine = Lockstep(
        model_path=str(MODEL.save(tmp_path_factory.mktemp("tiny"))),
        page_size=4,
        max_total_tokens=400,
        chunked_prefill_size=16,
        max_running_requests=4,
        disable_overlap_schedule=request.param == "no overlap",
    )
    yield engine
    engine.close()


class Fault:
    """Makes the runner fail on batches that `is_bad` says."""

    def __init__(self, monkeypatch, engine, is_bad, message="RESOURCE_EXHAUSTED"):
        runner = engine.setup.runner
        launch, self.count = runner.launch, 0

        def failing(batch):
            if is_bad(batch):
                self.count += 1
                raise RuntimeError(message)
            return launch(batch)

        monkeypatch.setattr(runner, "launch", failing)


def names(batch):
    return {row.request.rid for row in batch.rows}


def plain(prompt, count):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(MODEL.logits(tokens)[-1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("guilty", ["r0", "r3", "r6"])
def test_one_poisoned_request_fails_alone(engine, monkeypatch, guilty):
    engine.forget()
    fault = Fault(monkeypatch, engine, lambda batch: guilty in names(batch))
    prompts = {f"r{i}": [5 + i, 9, 20 + i, 30] * 3 for i in range(7)}
    for rid, prompt in prompts.items():
        engine.submit(rid, prompt, max_new_tokens=6, ignore_eos=True)
    engine.finish()
    for rid, prompt in prompts.items():
        delta = engine.deltas[rid]
        if rid == guilty:
            assert delta.finish.failed
            assert "RESOURCE_EXHAUSTED" in delta.finish.message
        else:
            assert delta.finish.type == "length"
            assert delta.token_ids == plain(prompt, 6)
    assert 1 <= fault.count <= 3
    assert engine.call("stats")["failed_requests"] >= 1


def test_a_fault_that_does_not_come_back_costs_nobody_anything(engine, monkeypatch):
    engine.forget()
    failed = []

    def once(batch):
        if len(batch.rows) >= 3 and not failed:
            failed.append(batch)
            return True
        return False

    Fault(monkeypatch, engine, once)
    for i in range(4):
        engine.submit(f"r{i}", [4 + i] * 9, max_new_tokens=8, ignore_eos=True)
    engine.finish()
    assert failed
    for i in range(4):
        assert engine.deltas[f"r{i}"].token_ids == plain([4 + i] * 9, 8)


def test_a_device_that_fails_every_step_fails_all_and_the_engine_stays(engine, monkeypatch):
    engine.forget()
    with monkeypatch.context() as patch:
        Fault(patch, engine, lambda batch: True)
        for i in range(4):
            engine.submit(f"r{i}", [4 + i] * 9)
        engine.finish()
    assert all(engine.deltas[f"r{i}"].finish.failed for i in range(4))
    assert engine.generate([5, 6, 7], max_new_tokens=3).token_ids == plain([5, 6, 7], 3)


def test_logits_that_are_not_finite_fail_their_own_request(engine, monkeypatch):
    engine.forget()
    runner = engine.setup.runner
    launch = runner.launch

    def poison(batch):
        step = launch(batch)
        if step.tokens is None or "bad" not in names(batch):
            return step
        ends = [sum(r.num_logits for r in batch.rows[: i + 1]) for i in range(len(batch.rows))]
        tokens = step.tokens.copy()
        for row, end in zip(batch.rows, ends, strict=True):
            if row.request.rid == "bad" and row.samples:
                tokens = tokens.at[end - 1].set(-1)
        return dataclasses.replace(step, tokens=tokens)

    monkeypatch.setattr(runner, "launch", poison)
    engine.submit("good", [8, 9, 10], max_new_tokens=5, ignore_eos=True)
    engine.submit("bad", [11, 12, 13], max_new_tokens=5, ignore_eos=True)
    engine.finish()
    assert engine.deltas["bad"].finish.failed
    assert engine.deltas["good"].token_ids == plain([8, 9, 10], 5)


def test_lost_pages_are_found_when_nothing_comes_for_a_while(engine):
    engine.forget()
    engine.generate([5, 6, 7], max_new_tokens=3)
    before = engine.scheduler.stats.page_imbalance
    engine.scheduler._cache.pool.take(2)
    engine.engine.turn()  # waits for a command, for a moment
    assert engine.scheduler.stats.page_imbalance == before + 1
    assert engine.generate([5, 6, 7], max_new_tokens=3).token_ids == plain([5, 6, 7], 3)
    engine.scheduler.check_invariants()


def test_a_request_whose_end_cannot_be_booked_fails_and_the_others_go_on(engine, monkeypatch):
    engine.forget()
    cache = engine.scheduler._cache
    release = cache.release

    def failing(request, *arguments):
        if request.rid == "bad" and request.finish_reason is not None:
            raise IndexError("a page that is not there")
        return release(request, *arguments)

    monkeypatch.setattr(cache, "release", failing)
    for rid, first in (("before", 4), ("bad", 5), ("after", 6)):
        engine.submit(rid, [first] * 9, max_new_tokens=5, ignore_eos=True)
    engine.submit("longer", [7] * 9, max_new_tokens=9, ignore_eos=True)
    engine.finish()
    assert engine.deltas["bad"].finish.failed
    assert "a page that is not there" in engine.deltas["bad"].finish.message
    told = [rid for rid in ("before", "after") if not engine.deltas[rid].finish.failed]
    for rid in told:
        assert engine.deltas[rid].token_ids == plain([4 if rid == "before" else 6] * 9, 5)
    assert engine.deltas["longer"].token_ids == plain([7] * 9, 9)
    monkeypatch.undo()
    assert engine.generate([5, 6, 7], max_new_tokens=3).token_ids == plain([5, 6, 7], 3)

"""Decode steps that read shared prefixes once say what the model says of each row by itself.

Sharing is made worth it always, and buckets for it are there from one row on. The reference reads
shared pages where the group's first row has them, so a group that is wrong shows in the logits; the
kernels, interpreted, are those of a GPU.
"""

import contextlib
import dataclasses
import functools

import jax
import numpy as np
import pytest

from sgjax.engine import runner, setup, sizing
from sgjax.engine.sharing import Sharing
from sgjax.kernels_pallas.ragged_paged_attention import reference, triton
from tests.engine.lockstep import Lockstep
from tests.engine.test_plain_path import BASE, MODEL, check

ROWS = 8

KERNELS = "kernels, interpreted"
OPTIONS = {
    "reference": {},
    "reference, a pool that retracts": {"max_total_tokens": 152},
    "reference, tp 2, pages of one token": {"tp_size": 2, "page_size": 1},
    "reference, without overlap": {"disable_overlap_schedule": True},
    KERNELS: {},
}


@contextlib.contextmanager
def kernels_for_the_reference():
    """What was traced before, and what is traced now, is of no use to others."""
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        interpreted = functools.partial(triton.ragged_paged_attention, interpret=True)
        patch.setattr(reference, "ragged_paged_attention", interpreted)
        yield
    jax.clear_caches()


@pytest.fixture(scope="module", params=OPTIONS)
def engine(request, tmp_path_factory):
    folder = MODEL.save(tmp_path_factory.mktemp("tiny"))
    options = {
        "page_size": 4,
        "max_total_tokens": 1000,
        "chunked_prefill_size": 64,
        "max_running_requests": ROWS,
        "context_length": 128,
        "attention_backend": "reference",
    }
    sizes = dataclasses.replace(sizing.CPU, decode_rows=(ROWS,), mixed_tokens=(64,), shared_from=1)
    with contextlib.ExitStack() as stack:
        if request.param == KERNELS:
            stack.enter_context(kernels_for_the_reference())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sizing, "CPU", sizes)
        patch.setattr(setup, "Sharing", functools.partial(Sharing, min_part=0.01, min_tokens=1))
        engine = Lockstep(model_path=str(folder), **options | OPTIONS[request.param])
        stack.callback(engine.close)
        for compiling in engine.setup.runner.programs._futures:
            compiling.result().result()  # traced, then compiled
        yield engine


@pytest.fixture
def shared_steps(monkeypatch):
    """An entry a step that ran in a bucket for shared prefixes: of its rows, how many share."""
    steps, pick = [], runner.pick

    def spy(buckets, batch):
        bucket = pick(buckets, batch)
        if bucket.shared:
            steps.append(int(np.count_nonzero(batch.shared[1])))
        return bucket

    monkeypatch.setattr(runner, "pick", spy)
    return steps


def run(engine, prompts, params=None):
    """Runs them together, and compares all logits with the plain path."""
    engine.forget()
    params = params or [{"max_new_tokens": 6, "ignore_eos": True}] * len(prompts)
    for i, (prompt, each) in enumerate(zip(prompts, params, strict=True)):
        engine.submit(f"r{i}", prompt, **each)
    engine.finish()
    for i, (prompt, each) in enumerate(zip(prompts, params, strict=True)):
        check(prompt, engine.deltas[f"r{i}"], each)
    engine.flush()


def test_rows_of_one_prefix_and_others(engine, shared_steps):
    run(engine, [[*BASE[:37], i + 2] for i in range(6)] + [BASE[100:120], BASE[50:51]])
    assert 6 in shared_steps


def test_two_groups_within_one_trunk(engine, shared_steps):
    trunk = BASE[:12]
    branches = BASE[20:40], BASE[60:80]
    run(engine, [[*trunk, *branches[i % 2], i + 2] for i in range(6)])
    assert 6 in shared_steps


def test_rows_come_and_go_and_outgrow_their_prefix(engine, shared_steps):
    prompts = [[*BASE[: 4 * (i % 3) + 9], i + 2] for i in range(12)]
    limits = (1, 5, 30, 2, 17, 9, 40, 3, 3, 22, 8, 13)
    run(engine, prompts, [{"max_new_tokens": n, "ignore_eos": True} for n in limits])
    assert len(set(shared_steps)) > 2


def test_samples_of_one_prompt(engine, shared_steps):
    params = [{"max_new_tokens": 9, "temperature": 1.0, "seed": i} for i in range(5)]
    run(engine, [BASE[:33]] * 5, params)
    assert max(shared_steps) == 5


def test_requests_that_share_nothing_decode_in_the_plain_bucket(engine, shared_steps):
    run(engine, [BASE[15 * i : 15 * i + 9] for i in range(5)])
    assert not shared_steps

"""Whatever the engine does with pages, chunks, the tree, retraction and overlap, what comes out is
what the model says of the same tokens without any of it.

Logits are compared under teacher forcing: the plain path is given the engine's own tokens, and a
greedy token may differ from its choice only where the two best are closer than rounding.
"""

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from tests.engine.lockstep import Lockstep, joined
from tests.tiny import TinyLlama

TOLERANCE = 2e-4
"""Of a logprob: float32 sums in another order than float64's."""

MODEL = TinyLlama()
BASE = np.random.default_rng(5).integers(2, MODEL.vocab_size, 200).tolist()

OPTIONS = {
    "pages of one token, pool of 120": {"page_size": 1, "max_total_tokens": 120},
    "pages of four, a pool that retracts": {"page_size": 4, "max_total_tokens": 80},
    "pages of sixteen, without overlap": {
        "page_size": 16,
        "max_total_tokens": 320,
        "disable_overlap_schedule": True,
        "schedule_policy": "fcfs",
    },
    "tp 2, dfs-weight, chunks of 8": {
        "page_size": 4,
        "max_total_tokens": 160,
        "tp_size": 2,
        "chunked_prefill_size": 8,
        "schedule_policy": "dfs-weight",
    },
    "no prefix cache": {"page_size": 4, "max_total_tokens": 160, "disable_radix_cache": True},
}


@pytest.fixture(scope="module", params=OPTIONS)
def engine(request, tmp_path_factory):
    folder = MODEL.save(tmp_path_factory.mktemp("tiny"))
    options = {"chunked_prefill_size": 16, "max_running_requests": 4, "context_length": 100}
    engine = Lockstep(model_path=str(folder), **options | OPTIONS[request.param])
    yield engine
    engine.close()


def check(prompt, delta, params):
    """Compares all that a request gave with the plain path."""
    output = delta.token_ids
    truth = MODEL.logprobs(prompt + output)
    for i, (token, logprob) in enumerate(joined(delta.logprobs)):
        row = truth[len(prompt) + i - 1]
        assert token == output[i]
        assert logprob == pytest.approx(row[token], abs=TOLERANCE)
        if params.get("temperature", 0) == 0:
            assert row.max() - row[token] < TOLERANCE
    assert len(joined(delta.logprobs)) == len(output)
    start = params.get("logprob_start")
    if start is None:
        assert delta.prompt_logprobs is None
        return
    found = joined(delta.prompt_logprobs)
    # The plain rule: an entry for each prompt token after `start`.
    assert [token for token, _ in found] == prompt[start + 1 :]
    for i, (token, logprob) in enumerate(found, start=start):
        assert logprob == pytest.approx(truth[i, token], abs=TOLERANCE)


def check_end(engine, prompt, delta, params):
    """Why a request ended fits what it gave."""
    output, limit = delta.token_ids, params.get("max_new_tokens", 8)
    limit = min(limit, engine.info.context_length - len(prompt))
    if delta.finish.type == "length":
        assert len(output) == limit
    elif delta.finish.type == "stop":
        assert output[-1] == delta.finish.matched
        assert output[-1] in (0, 1)
    else:
        assert delta.finish.type == "abort"
    assert not set(output[:-1]) & {0, 1} or params.get("ignore_eos")


@pytest.mark.parametrize("wanted", range(-1, 3))
def test_lengths_around_page_boundaries_with_and_without_a_hit(engine, wanted):
    page = engine.info.page_size
    for pages in (1, 2, 3):
        length = max(pages * page + wanted, 1)
        prompt = BASE[:length]
        for _ in ("new", "full hit"):
            check(prompt, engine.generate(prompt, max_new_tokens=5, ignore_eos=True), {})
        longer = [*prompt, 9]
        delta = engine.generate(longer, max_new_tokens=2 * page, ignore_eos=True)
        check(longer, delta, {})
        # What was generated is in the tree too: a follow-up hits it.
        follow_up = longer + delta.token_ids + [17]
        if len(follow_up) + 3 < engine.info.context_length:
            check(follow_up, engine.generate(follow_up, max_new_tokens=3), {})
        engine.flush()


def test_prompt_logprobs_from_any_start_whatever_is_cached(engine):
    prompt = BASE[:41]
    for start in (0, 1, 15, 16, 17, 39, 40):
        engine.generate(prompt)
        params = {"logprob_start": start}
        for max_new_tokens in (0, 1, 3):
            delta = engine.generate(prompt, max_new_tokens=max_new_tokens, **params)
            check(prompt, delta, params)
            assert len(delta.token_ids) <= max_new_tokens
        engine.flush()


requests = st.fixed_dictionaries(
    {
        "prefix": st.integers(0, 2),  # of which of three texts
        "length": st.integers(1, 60),
        "suffix": st.lists(st.integers(2, MODEL.vocab_size - 1), max_size=3),
        "params": st.fixed_dictionaries(
            {"max_new_tokens": st.sampled_from([0, 1, 2, 7, 30])},
            optional={
                "temperature": st.sampled_from([0.0, 0.8]),
                "ignore_eos": st.just(True),
                "logprob_start": st.integers(0, 60),
                "salt": st.sampled_from(["", "x"]),
                "seed": st.integers(0, 3),
            },
        ),
    }
)
actions = st.lists(
    st.one_of(
        requests, requests, st.integers(1, 6), st.tuples(st.just("abort"), st.integers(0, 30))
    ),
    min_size=2,
    max_size=25,
)


@settings(max_examples=settings.default.max_examples // 4)
@given(actions=actions)
def test_random_lives_of_many_requests(engine, actions):
    engine.forget()
    submitted = {}
    for action in actions:
        if isinstance(action, int):
            engine.turn(action)
        elif isinstance(action, tuple):
            engine.abort(f"r{action[1]}")
            engine.turn()
        else:
            shift = action["prefix"] * 60
            prompt = BASE[shift : shift + action["length"]] + action["suffix"]
            params = dict(action["params"])
            if "logprob_start" in params:
                params["logprob_start"] = min(params["logprob_start"], len(prompt) - 1)
            rid = f"r{len(submitted)}"
            submitted[rid] = prompt, params
            engine.submit(rid, prompt, **params)
    engine.finish()
    assume(submitted)
    for rid, (prompt, params) in submitted.items():
        if rid in engine.refusals:
            assert engine.refusals[rid].kind == "NeverFits"
            continue
        delta = engine.deltas[rid]
        check_end(engine, prompt, delta, params)
        if delta.finish.type != "abort":
            check(prompt, delta, params)
        event(delta.finish.type)
        if delta.num_retractions:
            event("retracted")
        if delta.num_cached:
            event("hit")


def test_a_seed_gives_the_same_tokens_alone_and_in_a_crowd(engine):
    params = {"temperature": 1.2, "seed": 7, "max_new_tokens": 12, "ignore_eos": True}
    alone = engine.generate(BASE[:20], **params)
    engine.forget()
    for i in range(6):
        engine.submit(f"other{i}", BASE[i : i + 25], temperature=1.0, max_new_tokens=9)
    engine.submit("same", BASE[:20], **params)
    engine.finish()
    assert engine.deltas["same"].token_ids == alone.token_ids
    other = engine.generate(BASE[:20], **params | {"seed": 8})
    assert other.token_ids != alone.token_ids


def test_requests_that_arrive_together_compute_a_shared_prefix_once(engine):
    engine.flush()
    engine.forget()
    before = engine.call("stats")
    for i in range(4):
        engine.submit(f"r{i}", [*BASE[:33], i + 2], max_new_tokens=2)
    engine.finish()
    after = engine.call("stats")
    page = engine.info.page_size
    shared = 33 // page * page if engine.scheduler._cache.enabled else 0
    assert after["cached_tokens"] - before["cached_tokens"] == 3 * shared


def test_the_scheduler_retracts_where_the_pool_is_small(engine):
    engine.flush()
    engine.forget()
    before = engine.call("stats")["retractions"]
    for i in range(4):
        engine.submit(f"r{i}", BASE[i * 9 : i * 9 + 9], max_new_tokens=40, ignore_eos=True)
    engine.finish()
    for i in range(4):
        check(BASE[i * 9 : i * 9 + 9], engine.deltas[f"r{i}"], {})
    if engine.info.max_total_tokens < 4 * 48:
        assert engine.call("stats")["retractions"] > before

"""What the scheduler does, as stories. A plan is written as (rid, start, num_tokens, samples)."""

import dataclasses

import pytest

from sgjax.engine.messages import EngineStats
from sgjax.engine.request import FinishReason
from sgjax.engine.sharing import Sharing
from sgjax.errors import ContextTooLong, InvalidRequest, NeverFits, QueueFull
from tests.engine.paged_device import make_limits
from tests.engine.simulation import Simulation

PAGE = 4
FOREVER = frozenset()


def simulate(options=None, **limits) -> Simulation:
    return Simulation(make_limits(page_size=PAGE, **limits), **(options or {}))


def tokens(count: int, first: int = 1) -> list[int]:
    return [(first + i) % 49 + 1 for i in range(count)]


# Steps


def test_long_prompt_is_computed_in_chunks_while_others_decode():
    simulation = simulate(max_step_tokens=13)
    simulation.add("short", tokens(4), 4, stop_ids=FOREVER)
    simulation.add("long", tokens(26, 9), 1)
    simulation.run()
    assert simulation.plans == [
        [("short", 0, 4, True), ("long", 0, 8, False)],  # 9 had room; 8 are whole pages
        [("short", 4, 1, True), ("long", 8, 12, False)],
        [("short", 5, 1, True), ("long", 20, 6, True)],
        [("short", 6, 1, True)],
    ]
    simulation.check_ended()


def test_the_step_ahead_is_planned_before_the_token_it_needs_is_read():
    simulation = simulate()
    request = simulation.add("a", tokens(3), 3, stop_ids=FOREVER)
    simulation.plan()
    simulation.plan()
    assert simulation.plans == [[("a", 0, 3, True)], [("a", 3, 1, True)]]
    assert (request.output_ids, request.num_in_flight) == ([], 2)
    simulation.read()
    assert (len(request.output_ids), request.num_in_flight) == (1, 1)


def test_nothing_is_planned_past_the_last_token_that_is_asked_for():
    simulation = simulate()
    request = simulation.add("a", tokens(3), 2, stop_ids=FOREVER)
    assert simulation.plan() and simulation.plan()
    assert simulation.plan() is None
    assert len(request.pages) == 1  # full, but no token comes after it
    simulation.run()
    simulation.check_ended()


def test_a_row_that_is_on_its_way_when_its_request_ends_is_ignored():
    simulation = simulate()
    first, second, third = _outputs(tokens(3), 3)
    simulation.add("a", tokens(3), 10, stop_ids=frozenset({second}))
    for _ in range(3):
        simulation.plan()
    assert [output.token_ids for output in simulation.read()] == [[first]]
    ended = simulation.read()[0]
    assert ended.finish == FinishReason("stop", matched=second)
    assert simulation.read() == []
    assert simulation.outputs["a"] == [first, second] != [first, second, third]
    simulation.check_ended()


def test_decoding_rows_that_share_a_prefix_lie_together_and_read_it_once():
    sharing = Sharing(PAGE, min_rows=1, min_part=0.1, min_tokens=0)
    simulation = simulate({"sharing": sharing})
    trunk, other = tokens(9), tokens(13, 20)
    for i in range(3):
        simulation.add(f"trunk {i}", [*trunk, 40 + i], 3, stop_ids=FOREVER)
        simulation.add(f"other {i}", [*other, 40 + i], 3, stop_ids=FOREVER)
    simulation.add("alone", tokens(4, 30), 3, stop_ids=FOREVER)
    simulation.plan()
    batch = simulation.plan()
    assert [row.request.rid[:5] for row in batch.rows[:3]] == ["trunk"] * 3
    assert batch.shared.tolist() == [[0, 0, 0, 3, 3, 3, 0], [8, 8, 8, 12, 12, 12, 0]]
    assert simulation.device.num_shared == 2 * 8 + 2 * 12
    simulation.run()
    simulation.check_ended()


def _outputs(prompt: list[int], count: int) -> list[int]:
    simulation = simulate()
    simulation.add("alone", prompt, count, stop_ids=FOREVER)
    simulation.run()
    return simulation.outputs["alone"]


def test_the_last_token_asked_for_ends_a_request_by_length_even_if_it_would_stop():
    simulation = simulate()
    simulation.add("a", tokens(3), 1, stop_ids=frozenset(range(50)))
    simulation.run()
    assert simulation.requests["a"].finish_reason == FinishReason("length", length=1)


def test_a_page_of_an_ended_request_goes_to_the_next_while_its_ghost_is_on_its_way():
    simulation = simulate(num_pages=2, num_slots=2)
    stop = _outputs(tokens(3), 1)[0]
    simulation.add("a", tokens(3), 5, stop_ids=frozenset({stop}))
    simulation.add("b", tokens(5, 20), 3, stop_ids=FOREVER)
    simulation.run(depth=1)
    simulation.check_ended()


def test_the_order_of_reading_is_the_order_of_planning():
    simulation = simulate()
    simulation.add("a", tokens(3), 3)
    simulation.plan()
    simulation.plan()
    _, (batch, results) = simulation.pending
    with pytest.raises(ValueError, match="an earlier step must be read first"):
        simulation.scheduler.update(batch, results)


def test_new_prompt_tokens_of_a_step_are_bounded_but_for_the_first_prompt():
    simulation = simulate(max_prefill_tokens=8)
    simulation.add("first", tokens(20), 1)
    simulation.add("second", tokens(10, 25), 1)
    simulation.run()
    assert simulation.plans == [
        [("first", 0, 20, True)],
        [("second", 0, 10, True)],
    ]


def test_no_step_has_more_logits_than_its_program():
    simulation = simulate(max_logits=2)
    for i in range(3):
        simulation.add(str(i), tokens(3, 10 * i), 2, stop_ids=FOREVER)
    simulation.run()
    assert simulation.plans == [
        [("0", 0, 3, True), ("1", 0, 3, True)],
        [("0", 3, 1, True), ("1", 3, 1, True)],
        [("2", 0, 3, True)],
        [("2", 3, 1, True)],
    ]


def test_larger_programs_are_used_as_soon_as_they_are_there():
    simulation = simulate(max_step_tokens=8)
    simulation.add("a", tokens(40), 1)
    simulation.step()
    limits = dataclasses.replace(simulation.scheduler.limits, max_step_tokens=32)
    simulation.scheduler.limits = simulation.device.limits = limits
    simulation.step()
    assert simulation.plans == [[("a", 0, 8, False)], [("a", 8, 32, True)]]


# The cache


def test_requests_that_arrive_together_compute_their_common_prefix_once():
    simulation = simulate()
    for i in range(4):
        simulation.add(str(i), [*tokens(20), i], 1)
    simulation.run()
    assert simulation.plans == [[("1", 20, 1, True), ("2", 20, 1, True), ("3", 20, 1, True),
                                 ("0", 0, 21, True)]]  # fmt: skip
    assert [simulation.requests[str(i)].num_cached for i in range(4)] == [0, 20, 20, 20]
    simulation.check_ended()


def test_a_prompt_in_chunks_skips_what_another_request_left_meanwhile():
    simulation = simulate(max_step_tokens=8)
    prompt = tokens(8) + _outputs(tokens(8), 20)
    simulation.add("talks", tokens(8), 20, stop_ids=FOREVER)
    for _ in range(15):
        simulation.step()
    simulation.add("listens", prompt, 1)
    simulation.step()
    simulation.abort("talks")
    simulation.run()
    assert [row for plan in simulation.plans for row in plan if row[0] == "listens"] == [
        ("listens", 8, 4, False),
        ("listens", 20, 8, True),  # pages 3 and 4 were computed by the other, as its answer
    ]
    simulation.check_ended()


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 1, 3 * PAGE, 3 * PAGE + 1])
@pytest.mark.parametrize("depth", [0, 1])
def test_the_same_prompt_again_computes_only_its_last_page(count, depth):
    simulation = simulate()
    simulation.add("a", tokens(count), 3, stop_ids=FOREVER)
    simulation.run(depth)
    simulation.add("b", tokens(count), 3, stop_ids=FOREVER)
    simulation.run(depth)
    simulation.check_ended()
    hit = (count - 1) // PAGE * PAGE
    assert simulation.requests["b"].num_cached == hit
    stats = simulation.scheduler.stats
    assert (stats.prompt_tokens, stats.cached_tokens) == (2 * count, hit)


@pytest.mark.parametrize("count", range(1, 2 * PAGE + 2))
@pytest.mark.parametrize("depth", [0, 1])
def test_a_follow_up_finds_the_answer_before_it_in_the_cache(count, depth):
    """The last token of an answer was never computed, so its page is not in the tree."""
    simulation = simulate()
    simulation.add("a", tokens(9), count, stop_ids=FOREVER)
    simulation.run(depth)
    so_far = tokens(9) + simulation.outputs["a"]
    simulation.add("b", [*so_far, 5, 6, 7, 8], 2)
    simulation.run(depth)
    simulation.check_ended()
    assert simulation.requests["b"].num_cached == (len(so_far) - 1) // PAGE * PAGE


def test_an_aborted_request_leaves_what_it_computed():
    simulation = simulate(max_step_tokens=8)
    simulation.add("a", tokens(40), 1)
    simulation.step()
    simulation.step()
    simulation.abort("a")
    simulation.add("b", tokens(40), 1)
    simulation.run()
    assert simulation.requests["b"].num_cached == 16
    assert simulation.requests["a"].finish_reason == FinishReason("abort", message="aborted")
    simulation.check_ended()


def test_requests_of_different_salts_share_nothing():
    simulation = simulate()
    for salt in ("", "x", "y", "x"):
        simulation.add(f"{salt}{len(simulation.requests)}", tokens(9), 1, cache_salt=salt)
    simulation.run()
    assert [request.num_cached for request in simulation.requests.values()] == [0, 0, 0, 8]
    simulation.check_ended()


def test_without_a_prefix_cache_nothing_is_shared_or_kept():
    simulation = simulate({"enabled": False})
    for i in range(3):
        simulation.add(str(i), tokens(9), 1)
    simulation.run()
    assert simulation.device.num_computed == 27
    assert simulation.cache.pool.num_free == simulation.cache.pool.num_pages
    simulation.check_ended()


def test_the_cache_is_flushed_only_when_nothing_runs():
    simulation = simulate()
    simulation.add("a", tokens(9), 2)
    assert not simulation.scheduler.flush_cache()
    simulation.run()
    assert simulation.cache.tree.num_pages
    assert simulation.scheduler.flush_cache()
    assert simulation.cache.pool.num_free == simulation.cache.pool.num_pages


# No token, and logprobs


@pytest.mark.parametrize("start", [None, 0, 3, 7, 8])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_request_for_no_token_fills_the_cache_and_ends(start, depth):
    simulation = simulate()
    simulation.add("a", tokens(9), 0, return_logprob=True, logprob_start=start)
    simulation.run(depth)
    simulation.check_ended()
    assert simulation.outputs["a"] == []
    assert simulation.requests["a"].finish_reason == FinishReason("length", length=0)
    simulation.add("b", tokens(9), 1)
    simulation.run(depth)
    assert simulation.requests["b"].num_cached == 8


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 19, 20, 21])
@pytest.mark.parametrize("max_new_tokens", [0, 2])
def test_prompt_logprobs_come_in_chunks_and_are_computed_though_the_prompt_is_cached(
    start, max_new_tokens
):
    simulation = simulate(max_logits=7)
    simulation.add("before", tokens(21), 2)
    simulation.run()
    simulation.add(
        "a", tokens(21), max_new_tokens, return_logprob=True, logprob_start=start, top_logprobs=2
    )
    simulation.run(depth=1)
    simulation.check_ended()
    assert len(simulation.prompt_logprobs["a"]) == max(20 - start, 0)
    assert simulation.requests["a"].num_cached == min(start, 20) // PAGE * PAGE


def test_prompt_logprobs_that_were_reported_are_not_computed_again_after_a_retraction():
    simulation = simulate(max_logits=32)
    simulation.add("a", tokens(20), 20, return_logprob=True, logprob_start=0, stop_ids=FOREVER)
    simulation.step()
    simulation.lose_device()
    batch = simulation.plan()
    assert batch.num_logits == 1
    simulation.run()
    simulation.check_ended()


# Coming and going


def test_a_request_that_can_never_fit_is_refused_with_the_numbers():
    simulation = simulate(num_pages=5)
    with pytest.raises(NeverFits, match="the cache of 21 tokens, but this server holds at most 20"):
        simulation.add("a", tokens(18), 4)
    assert not simulation.scheduler.has_work


def test_the_last_token_needs_no_cache_so_a_request_may_fill_the_pool_exactly():
    simulation = simulate(num_pages=5)
    simulation.add("a", tokens(17), 4, stop_ids=FOREVER)
    simulation.run()
    simulation.check_ended()


def test_a_request_longer_than_a_page_table_is_refused():
    simulation = simulate(max_pages_per_request=2)
    with pytest.raises(NeverFits, match="at most 8"):
        simulation.add("a", tokens(8), 2)


def test_a_request_that_exceeds_the_context_is_refused():
    simulation = simulate(context_length=10)
    simulation.add("a", tokens(8), 2)
    with pytest.raises(ContextTooLong, match="has 8 and 3 more are asked for"):
        simulation.add("b", tokens(8), 3)


def test_a_full_queue_refuses_and_says_so():
    simulation = simulate(max_queued=2)
    simulation.add("a", tokens(3))
    simulation.add("b", tokens(3))
    with pytest.raises(QueueFull, match="2 requests wait already, and at most 2 may"):
        simulation.add("c", tokens(3))
    simulation.step()
    simulation.add("c", tokens(3))
    simulation.run()
    simulation.check_ended()


def test_an_id_in_use_and_an_empty_prompt_are_refused():
    simulation = simulate()
    simulation.add("a", tokens(3))
    with pytest.raises(InvalidRequest, match="'a' runs already"):
        simulation.add("a", tokens(3))
    with pytest.raises(InvalidRequest, match="at least one token"):
        simulation.add("b", [])
    simulation.run()
    simulation.add("a", tokens(3))


def test_an_abort_frees_at_once_wherever_the_request_is():
    simulation = simulate(max_step_tokens=8, num_slots=2)
    simulation.add("decoding", tokens(3), 9, stop_ids=FOREVER)
    simulation.add("prefilling", tokens(40, 9), 9)
    simulation.add("waiting", tokens(3), 9)
    simulation.plan()
    simulation.plan()
    for rid in ("decoding", "prefilling", "waiting", "unknown"):
        simulation.abort(rid)
        simulation.scheduler.check_invariants()
    assert simulation.ended == {"decoding", "prefilling", "waiting"}
    assert simulation.cache.num_available == simulation.cache.pool.num_pages
    assert not simulation.scheduler.has_work
    simulation.run()
    simulation.check_ended()


def test_all_can_be_aborted_together():
    simulation = simulate(num_slots=1)
    simulation.add("a", tokens(3), 9)
    simulation.add("b", tokens(3), 9)
    simulation.plan()
    simulation.abort(None)
    simulation.run()
    assert simulation.scheduler.stats.aborted_requests == 2
    simulation.check_ended()


# Pages run out


def test_who_has_the_fewest_outputs_gives_way_and_comes_back_with_them():
    simulation = simulate({"conservativeness": 0.01}, num_pages=8)
    simulation.add("early", tokens(6), 20, stop_ids=FOREVER)
    simulation.step()
    simulation.add("late", tokens(6, 20), 20, stop_ids=FOREVER)
    simulation.run()
    simulation.check_ended()
    assert simulation.requests["early"].num_retractions == 0
    late = simulation.requests["late"]
    assert late.num_retractions == 1
    assert late.num_cached == 0  # what it found on its return is no saving
    assert simulation.scheduler.stats.retractions == 1
    assert simulation.scheduler.stats.prompt_tokens == 12


def test_results_on_their_way_are_read_before_anybody_gives_way():
    simulation = simulate({"conservativeness": 0.01}, num_pages=8)
    for name in ("a", "b"):
        simulation.add(name, tokens(6, ord(name)), 20, stop_ids=FOREVER)
    while simulation.plan():
        if len(simulation.pending) > 1:
            simulation.read()
    assert len(simulation.pending) == 1 and simulation.scheduler.stats.retractions == 0
    simulation.read()
    assert simulation.plan()
    assert simulation.scheduler.stats.retractions == 1
    simulation.run(depth=1)
    simulation.check_ended()


def test_lost_pages_are_found_again_when_nobody_can_go_on_without_them():
    simulation = simulate(num_pages=6)
    simulation.cache.pool.take(3)
    simulation.add("a", tokens(20), 2)
    scheduler = simulation.scheduler
    batch = scheduler.schedule()
    assert batch.num_tokens == 12
    scheduler.update(batch, simulation.device.run(batch))
    assert scheduler.schedule() is None
    assert scheduler.stats.page_imbalance == 1
    simulation.run()
    simulation.check_ended()


def test_who_does_not_fit_waits_and_nobody_overtakes():
    simulation = simulate({"policy": "fcfs"}, num_pages=10)
    simulation.add("runs", tokens(8), 20, stop_ids=FOREVER)
    simulation.step()
    simulation.add("large", tokens(28, 20), 1)
    simulation.add("small", tokens(2, 40), 1)
    simulation.step()
    assert simulation.scheduler.num_waiting == 2
    simulation.run()
    order = [rid for plan in simulation.plans for rid, *_ in plan]
    assert order.index("large") < order.index("small")
    simulation.check_ended()


def test_a_request_that_is_alone_is_admitted_whatever_is_reserved():
    simulation = simulate({"conservativeness": 10.0}, num_pages=10)
    simulation.add("a", tokens(20), 21, stop_ids=FOREVER)
    simulation.run()
    simulation.check_ended()


def test_the_reserve_falls_while_all_goes_well_and_begins_anew_when_idle():
    simulation = simulate()
    simulation.add("a", tokens(3), 20, stop_ids=FOREVER)
    simulation.run()
    scheduler = simulation.scheduler
    assert scheduler.new_token_ratio == pytest.approx(0.7 - 19 * 0.001)
    assert scheduler.schedule() is None
    assert scheduler.new_token_ratio == 0.7


def test_the_reserve_rises_when_somebody_gave_way():
    simulation = simulate({"conservativeness": 0.01}, num_pages=8)
    simulation.add("a", tokens(6), 20, stop_ids=FOREVER)
    simulation.add("b", tokens(6, 20), 20, stop_ids=FOREVER)
    while not simulation.scheduler.stats.retractions:
        simulation.step()
    made = len(simulation.requests["a"].output_ids) - 1  # at the time
    assert simulation.scheduler.new_token_ratio == pytest.approx(min((made + 20) / 20, 1), abs=0.01)


# When things go wrong


def test_nan_logits_fail_their_request_alone_and_spoil_no_later_one():
    simulation = simulate()
    simulation.add("sick", tokens(9), 9, stop_ids=FOREVER)
    simulation.add("well", tokens(9, 20), 9, stop_ids=FOREVER)
    simulation.plan()
    outputs = simulation.read(poisoned=0)
    assert [output.request.rid for output in outputs] == ["sick", "well"]
    finish = simulation.requests["sick"].finish_reason
    assert finish.type == "abort" and finish.failed and "NaN" in finish.message
    simulation.add("again", tokens(9), 2)
    simulation.run()
    assert simulation.requests["again"].num_cached == 0
    assert simulation.scheduler.stats.failed_requests == 1
    simulation.check_ended()


def test_a_step_that_failed_leaves_nothing_in_the_cache():
    simulation = simulate(max_step_tokens=8)
    simulation.add("a", tokens(24), 1)
    simulation.step()
    simulation.fail_plan()
    assert simulation.ended == {"a"}
    simulation.add("b", tokens(24), 1)
    simulation.run()
    simulation.check_ended()


def test_what_an_aborted_request_was_computing_in_a_failed_step_is_forgotten_too():
    simulation = simulate()
    simulation.add("a", tokens(24), 9)
    simulation.plan()
    simulation.abort("a")
    simulation.fail_oldest()
    simulation.add("b", tokens(24), 1)
    simulation.run()
    assert simulation.requests["b"].num_cached == 0
    simulation.check_ended()


def test_after_a_failed_step_those_behind_it_start_all_over():
    simulation = simulate(max_step_tokens=12, num_slots=4)
    simulation.add("guilty", tokens(9), 2)
    simulation.plan()
    simulation.add("innocent", [*tokens(8), 40, 41], 2)  # it reads the pages of the guilty one
    simulation.plan()
    simulation.fail_oldest()
    assert simulation.ended == {"guilty"}
    assert simulation.requests["innocent"].num_retractions == 1
    simulation.run()
    simulation.check_ended()


def test_a_lost_device_costs_time_but_no_token():
    simulation = simulate()
    simulation.add("a", tokens(9), 9, stop_ids=FOREVER)
    for _ in range(4):
        simulation.step(depth=1)
    simulation.lose_device()
    simulation.run(depth=1)
    simulation.check_ended()
    assert len(simulation.outputs["a"]) == 9


@pytest.mark.parametrize("harm", ["lose a page", "two owners", "a slot is lost", "a wrong lock"])
def test_an_imbalance_is_healed_counted_and_costs_no_request(harm):
    simulation = simulate()
    scheduler, cache = simulation.scheduler, simulation.cache
    simulation.add("a", tokens(9), 9, stop_ids=FOREVER)
    simulation.step()
    assert not scheduler.heal()
    if harm == "lose a page":
        cache.pool.take(1)
    elif harm == "two owners":
        cache.pool.give(simulation.requests["a"].pages)
    elif harm == "a slot is lost":
        scheduler._slots.pop()
    else:
        simulation.requests["a"].cache_node.num_locks += 1
    assert scheduler.heal()
    simulation.device.reset()
    simulation.run()
    simulation.check_ended()
    assert scheduler.stats.page_imbalance == 1
    assert not scheduler.heal()


def test_the_snapshot_has_the_names_of_the_engines_statistics():
    simulation = simulate()
    simulation.add("a", tokens(9), 2, stop_ids=FOREVER)
    simulation.run()
    stats = EngineStats(**simulation.scheduler.snapshot())
    assert stats.num_free_pages + stats.num_cached_pages == stats.num_pages == 64
    assert (stats.prompt_tokens, stats.generated_tokens, stats.finished_requests) == (9, 2, 1)

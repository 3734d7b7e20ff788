"""What prompts get of a step in which others decode."""

import dataclasses

import pytest

from sgjax.engine.pace import Pace, Share, StepCost
from tests.engine.paged_device import make_limits, make_request
from tests.engine.simulation import Simulation
from tests.engine.test_scheduler import FOREVER, PAGE, tokens

FREE = StepCost(step=0.0, per_cached=0.0, per_pair=0.0)
SIZES = (128, 256, 512, 1024, 2048, 4096, 8192)


def test_a_long_prompt_gets_what_keeps_the_step_within_the_ratio():
    cost = StepCost(step=100.0, per_cached=0.01, per_pair=0.001)
    pace = Pace(cost=cost, sizes=(), max_ratio=2.5)
    # Alone they take |(100, 20)| + 80 = 182. So there is room for 341 tokens of a beginning,
    # |(100, 361)| + 80 = 455, and for 106 where 2000 tokens before each are to be read.
    assert pace.share(20, 8000, num_waiting=1, start=0) == Share(2028, 341)
    assert pace.share(20, 8000, num_waiting=1, start=2000) == Share(2028, 106)
    assert pace.share(20, 8000, num_waiting=1, start=10**6) == Share(2028, pace.min_share)


def test_nobody_is_spared_where_nobody_decodes_or_many_wait():
    pace = Pace(cost=FREE, sizes=(), max_ratio=2.0)
    assert pace.share(0, 0, num_waiting=1, start=0) is None
    assert pace.share(9, 0, num_waiting=pace.many, start=0) is not None
    assert pace.share(9, 0, num_waiting=pace.many + 1, start=0) is None


def test_a_share_is_what_the_padded_step_has_time_for():
    pace = Pace(cost=dataclasses.replace(FREE, step=250.0), sizes=SIZES, max_ratio=2.0)
    # Twice |(250, 50)| is 510; |(250, 256)| is 358, |(250, 512)| 570.
    assert pace.share(50, 0, num_waiting=1, start=0) == Share(1998, 256 - 50)
    pace = dataclasses.replace(pace, cost=dataclasses.replace(FREE, step=100.0))
    assert pace.share(60, 0, num_waiting=1, start=0) == Share(1988, 128 - 60)


def test_those_who_jump_hold_up_others_by_a_tenth_in_the_mean():
    cost = StepCost(step=120.0, per_cached=0.01, per_pair=0.0, mixed=30.0)
    pace = Pace(cost=cost, sizes=SIZES, max_ratio=2.5)
    # All of them decode in |(120, 64)| + 64 = 200, the half in |(120, 32)| + 32 = 156.2. A jump to
    # |(120, 128)| + 64 + 30 = 269.5: 220 in the mean of two, 49.5 to win back at 63.8 a step.
    jump = {"decoding": (32, 3200), "jumping": (32, 3200)}
    assert pace.steps_a_jump(**jump, num_owed=96) == 2
    # To |(120, 1024)| + 94 = 1125: 905 to win back.
    assert pace.steps_a_jump(**jump, num_owed=900) == 16
    # No longer than a step in which they decode.
    assert pace.steps_a_jump(decoding=(1, 10), jumping=(900, 90_000), num_owed=900) == 1


@pytest.mark.parametrize(
    ("num_prompt", "num_cached", "is_long"),
    [(4096, 0, False), (4097, 0, True), (9000, 5000, False), (3000, 0, False)],
)
def test_a_prompt_is_long_by_what_is_not_in_the_cache(num_prompt, num_cached, is_long):
    request = make_request("a", [1] * num_prompt, num_cached=num_cached)
    assert Pace(cost=FREE, sizes=(), max_ratio=2.0).is_long(request) == is_long


def test_a_short_prompt_behind_a_long_cached_one_may_be_long():
    request = make_request("a", [1] * 103_000, num_cached=100_000)
    cost = StepCost(step=0.0, per_cached=0.0, per_pair=1e-5)
    assert Pace(cost=cost, sizes=(), max_ratio=2.0).is_long(request)  # 3000 * 2.015


@pytest.mark.parametrize(
    ("used", "count", "left"),
    [
        (64, 1024, 960),  # 1088 are not padded to 2048
        (0, 1500, 1024),
        (0, 1537, 1537),  # too much would be left
        (0, 1024, 1024),
        (500, 30, 30),  # 12 of 30 are not worth a step
        (300, 20, 20),  # small steps are left as they are
        (8000, 192, 192),
    ],
)
def test_the_last_prompt_of_a_step_is_trimmed_rather_than_padded_far(used, count, left):
    assert Pace(cost=FREE, sizes=SIZES, max_ratio=2.0).trimmed(used, count) == left


def paced(**fields) -> Simulation:
    """Steps of 40 tokens; a prompt of more than 16 is long, and gets 8 of a step."""
    limits = make_limits(page_size=PAGE, max_step_tokens=40, num_pages=200)
    simulation = Simulation(limits, policy="fcfs")
    simulation.scheduler.pace = Pace(
        cost=FREE, sizes=(), max_ratio=1.0, long=16, min_share=8, burst=40, many=3, **fields
    )
    return simulation


def decoding(simulation: Simulation, rid: str = "decodes") -> None:
    simulation.add(rid, tokens(4), 30, stop_ids=FOREVER)
    simulation.step()
    simulation.plans.clear()


def test_a_long_prompt_proceeds_slowly_beside_others_and_a_shorter_one_overtakes_it():
    simulation = paced()
    decoding(simulation)
    simulation.add("long", tokens(30, 9), 1)
    simulation.step()
    simulation.add("second long", tokens(20, 30), 1)
    simulation.add("short", tokens(12, 40), 1)
    for _ in range(4):
        simulation.step()
    assert simulation.plans == [
        [("decodes", 4, 1, True), ("long", 0, 8, False)],
        [("decodes", 5, 1, True), ("long", 8, 8, False), ("short", 0, 12, True)],
        [("decodes", 6, 1, True), ("long", 16, 8, False)],
        [("decodes", 7, 1, True), ("long", 24, 6, True), ("second long", 0, 2, False)],
        [("decodes", 8, 1, True), ("second long", 2, 6, False)],  # to the end of a page
    ]
    simulation.run()
    simulation.check_ended()


def test_a_long_prompt_is_not_slowed_down_for_nobody():
    simulation = paced()
    simulation.add("long", tokens(60), 1)
    simulation.run()
    assert simulation.plans == [[("long", 0, 40, False)], [("long", 40, 20, True)]]


def test_where_many_wait_steps_are_full():
    simulation = paced()
    decoding(simulation)
    for i in range(4):
        simulation.add(str(i), tokens(20, 7 * i), 1)
    simulation.step()
    assert simulation.plans == [
        [("decodes", 4, 1, True), ("0", 0, 20, True), ("1", 0, 16, False), ("2", 0, 3, False)],
    ]
    simulation.run()
    simulation.check_ended()


def test_a_burst_bounds_what_a_step_computes_beside_others():
    simulation = paced()
    simulation.scheduler.pace = dataclasses.replace(simulation.scheduler.pace, burst=13)
    decoding(simulation)
    simulation.add("a", tokens(16, 20), 1)
    simulation.step()
    assert simulation.plans == [[("decodes", 4, 1, True), ("a", 0, 12, False)]]


def test_the_last_prompt_of_a_step_is_trimmed_to_a_size():
    simulation = paced()
    simulation.scheduler.pace = Pace(cost=FREE, sizes=(16, 32), max_ratio=2.0, worth_trimming=16)
    simulation.add("a", tokens(20), 1)
    simulation.run()
    assert simulation.plans == [[("a", 0, 16, False)], [("a", 16, 4, True)]]
    simulation.plans.clear()
    simulation.add("b", tokens(20, 5), 1)
    simulation.add("c", tokens(8, 30), 1)  # it fills the step
    simulation.run()
    assert simulation.plans == [[("b", 0, 20, True), ("c", 0, 8, True)]]

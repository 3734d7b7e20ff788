"""Who of those that wait comes first."""

import pytest

from tests.engine.paged_device import make_limits
from tests.engine.simulation import Simulation

COUNTRIES, CITIES, RIVERS = list(range(1, 13)), list(range(20, 32)), list(range(35, 47))


def served(simulation: Simulation) -> list[str]:
    """Runs everything, one at a time; the order in which requests came first."""
    begin = len(simulation.plans)
    simulation.run()
    simulation.check_ended()
    return list(dict.fromkeys(rid for plan in simulation.plans[begin:] for rid, *_ in plan))


def one_at_a_time(policy: str, **options) -> Simulation:
    limits = make_limits(page_size=4, num_slots=1, num_pages=200, max_queued=2000)
    return Simulation(limits, policy=policy, **options)


def warm_up(simulation: Simulation, *prompts: list[int]) -> None:
    for i, prompt in enumerate(prompts):
        simulation.add(f"warm{i}", prompt, 0)
    simulation.run()


def test_lpm_takes_the_longest_cached_prefix_first_and_keeps_the_order_of_equals():
    simulation = one_at_a_time("lpm")
    warm_up(simulation, COUNTRIES)
    simulation.add("cold", [*RIVERS, 1], 1)
    simulation.add("half", [*COUNTRIES[:8], 40, 41], 1)
    simulation.add("colder", [*CITIES, 1], 1)
    simulation.add("whole", [*COUNTRIES, 1], 1)
    assert served(simulation) == ["whole", "half", "cold", "colder"]


def test_fcfs_takes_them_as_they_come():
    simulation = one_at_a_time("fcfs")
    warm_up(simulation, COUNTRIES)
    simulation.add("cold", [*RIVERS, 1], 1)
    simulation.add("whole", [*COUNTRIES, 1], 1)
    assert served(simulation) == ["cold", "whole"]


@pytest.mark.parametrize("policy", ["lpm", "dfs-weight"])
def test_without_a_cache_there_is_no_prefix_to_go_by(policy):
    simulation = one_at_a_time(policy, enabled=False)
    for name, prompt in ("a", CITIES), ("b", COUNTRIES), ("c", CITIES):
        simulation.add(name, prompt, 1)
    assert served(simulation) == ["a", "b", "c"]


def test_random_is_the_same_for_the_same_seed_and_another_for_another():
    def order(seed):
        simulation = one_at_a_time("random", seed=seed)
        for i in range(12):
            simulation.add(str(i), [i + 1], 1)
        return served(simulation)

    assert order(1) == order(1) != order(2)
    assert sorted(order(1), key=int) != order(1)


def test_dfs_weight_goes_through_the_tree_branch_by_branch_the_heavier_first():
    simulation = one_at_a_time("dfs-weight")
    europe, asia = [*COUNTRIES[:8], 13, 14, 15, 16], [*COUNTRIES[:8], 17, 18, 19, 20]
    warm_up(simulation, CITIES, europe, asia)
    for name, prompt in [
        ("city", CITIES),
        ("asia1", asia),
        ("countries", COUNTRIES[:8]),
        ("europe", europe),
        ("asia2", asia),
    ]:
        simulation.add(name, [*prompt, 48], 1)
    ranked = simulation.scheduler._waiting.ranked()
    assert [request.rid for request in ranked] == ["asia1", "asia2", "europe", "countries", "city"]


def test_whoever_waits_longest_is_passed_only_so_often():
    simulation = one_at_a_time("lpm")
    warm_up(simulation, COUNTRIES)
    simulation.add("cold", [*RIVERS, 1], 1)
    for i in range(300):
        simulation.add(str(i), [*COUNTRIES, i % 40 + 1], 1)
    assert served(simulation).index("cold") == 256


def test_only_the_first_to_arrive_are_compared_with_the_tree_and_not_at_every_change():
    simulation = one_at_a_time("lpm")
    warm_up(simulation, COUNTRIES)
    for i in range(130):
        simulation.add(f"cold{i}", [i % 48 + 1, 49, i // 48], 0)
    simulation.add("late", [*COUNTRIES, 1], 0)
    located = count_calls(simulation.cache, "locate")
    order = served(simulation)
    # It is among the first 128 after three others have gone, and soon goes before them.
    assert 3 <= order.index("late") <= 3 + 128 // 8
    assert len(located) < 131 * 128 / 8


def count_calls(target, name: str) -> list[None]:
    """Makes a method note its calls in the list returned."""
    calls: list[None] = []
    method = getattr(target, name)

    def noting(*args):
        calls.append(None)
        return method(*args)

    setattr(target, name, noting)
    return calls


def test_while_some_are_on_trial_nobody_else_starts():
    simulation = one_at_a_time("lpm")
    for name in ("a", "b", "c"):
        simulation.add(name, [*COUNTRIES, ord(name)], 1)
    simulation.scheduler.only = {simulation.requests["b"]}
    simulation.step()
    assert simulation.ended == {"b"}
    simulation.scheduler.only = None
    assert served(simulation) == ["a", "c"]


def test_who_gave_way_is_back_in_line_by_arrival():
    simulation = one_at_a_time("fcfs")
    simulation.add("old", COUNTRIES, 5, stop_ids=frozenset())
    simulation.add("new", CITIES, 5, stop_ids=frozenset())
    simulation.step()
    simulation.lose_device()
    assert served(simulation) == ["old", "new"]

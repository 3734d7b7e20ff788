"""What the language costs, and what it saves: that it is measured, not how much it is."""

import argparse
import re

from sgjax.bench import language
from sgjax.bench.language import CALLS, Instant, asking, measure_overhead, measure_programs


def test_a_program_reads_each_answer_before_the_next_call():
    backend = Instant()
    state = asking("Examples.\n", ignore_eos=True).run(question="why", backend=backend)
    assert state.text().startswith("Examples.\nQ: why\nA0: yes\nQ: Why 4?\nA1: yes")
    assert [state[f"answer {i}"] for i in range(CALLS)] == [" yes"] * CALLS
    backend.shutdown()


def test_what_a_call_costs_is_more_than_nothing(no_leaks):
    wall, processor = measure_overhead(num_threads=2, num_programs=4)
    assert wall > 0 and processor > 0


def test_what_programs_share_is_cached_and_each_line_says_of_how_many(monkeypatch):
    monkeypatch.setattr(language, "PREFIX_TOKENS", 200)
    options = argparse.Namespace(items=3, unshared_items=2)
    small = {"model_path": "demo", "max_total_tokens": 2048, "max_running_requests": 4}
    *lines, ratio = measure_programs(options, small)
    number = r" +\d+\.\d\d"
    form = rf"{{}} +{{}} items,{number} items/s,{number} calls/s, (\d+) tokens of a first call's .*"
    cached = [
        int(match[1])
        for line, start in zip(lines, [("shared", 3), ("nothing shared", 2)], strict=True)
        if (match := re.fullmatch(form.format(*start), line))
    ]
    assert len(cached) == 2 and cached[0] >= 200 and cached[1] == 0
    assert re.fullmatch(r"shared over nothing shared: \d+\.\d\d", ratio)

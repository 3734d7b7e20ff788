"""What the language costs: the measurement's own parts, without a model."""

from sgjax.bench.language import CALLS, Instant, asking, measure_overhead


def test_a_program_reads_each_answer_before_the_next_call():
    backend = Instant()
    state = asking("Examples.\n", ignore_eos=True).run(question="why", backend=backend)
    assert state.text().startswith("Examples.\nQ: why\nA0: yes\nQ: Why 4?\nA1: yes")
    assert [state[f"answer {i}"] for i in range(CALLS)] == [" yes"] * CALLS
    backend.shutdown()


def test_what_a_call_costs_is_more_than_nothing(no_leaks):
    wall, processor = measure_overhead(num_threads=2, num_programs=4)
    assert wall > 0 and processor > 0

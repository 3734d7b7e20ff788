import threading

import pytest

from sgjax.bench import spent as module
from sgjax.bench.spent import Spent

TRACE = "/jax/core/compile/jaxpr_trace_duration"
COMPILE = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def spent(monkeypatch):
    """Tells of events of (kind, seconds, when they ended, thread); gives the parts."""
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    found = Spent()

    def tell(*events):
        for kind, seconds, clock[0], thread in events:
            told = threading.Thread(target=found.listen, args=(kind, seconds), name=thread)
            told.start()
            told.join()
        return found.parts

    return tell


def test_what_is_traced_inside_of_something_else_counts_once(spent):
    trace = (TRACE, "sgjax-trace_0")
    events = [(1, 5.5), (0.25, 6), (3, 7), (1, 9)]  # the first two within the third: from 4 to 7
    parts = spent(*((trace[0], seconds, end, trace[1]) for seconds, end in events))
    assert parts == {"preparing": 4.0, "tracing": 4.0}


def test_threads_that_compile_are_added_up_and_others_do_not_count(spent):
    parts = spent(
        (TRACE, 1, 3, "sgjax-trace_0"),
        (COMPILE, 2, 5, "sgjax-compile_0"),
        (COMPILE, 3, 5, "sgjax-measure_0"),
        (COMPILE, 9, 5, "MainThread"),
        (TRACE, 9, 5, "MainThread"),
        ("/jax/something/else", 9, 5, "sgjax-compile_0"),
    )
    assert parts == {"preparing": 2.0, "tracing": 1.0, "compiling": 5.0}


def test_without_programs_there_is_nothing_to_tell(spent):
    assert spent() == {}

import threading

import pytest

from sgjax.engine.compiler_options import PLAIN, Compilation, of_forward
from sgjax.engine.programs import Programs, Source

MEASURED = Compilation({"some_option": 1}, measures=True)


class Lowered:
    """Compiles to its name; counts how many of its kind compile at a time."""

    running = 0
    most = 0
    lock = threading.Lock()

    def __init__(self, name, meet):
        self.name, self.meet = name, meet
        self.options = "not asked"

    def compile(self, options):
        self.options = options
        with self.lock:
            Lowered.running += 1
            Lowered.most = max(Lowered.most, Lowered.running)
        if self.meet is not None:
            self.meet.wait(10)
        with self.lock:
            Lowered.running -= 1
        return self.name


def programs(compilation, count, meet=None):
    Lowered.most = 0
    lowered = {i: Lowered(i, meet) for i in range(count)}
    sources = {i: Source(lambda i=i: lowered[i], compilation) for i in lowered}
    return Programs(sources, num_threads=4), lowered


def test_programs_compile_side_by_side():
    made, lowered = programs(PLAIN, 3, threading.Barrier(3))
    made.compile(range(3), lambda *_: None)
    assert (Lowered.most, made[2], lowered[2].options) == (3, 2, None)
    made.close(wait=True)


def test_programs_that_measure_compile_one_by_one():
    made, lowered = programs(MEASURED, 5)
    made.compile_rest()
    made.compile(range(5), lambda *_: None)
    assert made.is_complete
    assert Lowered.most == 1
    assert lowered[4].options == {"some_option": 1}
    made.close(wait=True)


def test_nothing_is_asked_of_the_compiler_for_a_cpu():
    assert of_forward(1, "cpu", has_graphs=False) == PLAIN


@pytest.mark.parametrize(
    ("tokens", "options", "measures"),
    [
        (8, {}, True),
        (128, {"xla_gpu_enable_triton_gemm": False}, True),
        (129, {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0}, False),
    ],
)
def test_products_are_measured_where_it_pays(tokens, options, measures):
    assert of_forward(tokens, "gpu", has_graphs=True) == Compilation(options, measures)
    assert of_forward(tokens, "gpu", has_graphs=False).options == options | {
        "xla_gpu_enable_command_buffer": ""
    }

import dataclasses
import gc
import threading
import time
from concurrent.futures import Future
from typing import ClassVar

import pytest

from sgjax.engine.compiler_options import OF_KERNEL, PLAIN, Compilation, of_forward, of_others
from sgjax.engine.programs import ALONE, ENOUGH_THREADS, Programs, Source


class Lowered:
    """Compiles to its name; counts how many compile at a time."""

    running = 0
    most = 0
    lock = threading.Lock()
    order: ClassVar[list[int]] = []

    def __init__(self, name, meet):
        self.name, self.meet = name, meet
        self.options = "not asked"

    def compile(self, options):
        self.options = options
        with self.lock:
            Lowered.order.append(self.name)
            Lowered.running += 1
            Lowered.most = max(Lowered.most, Lowered.running)
        if self.meet is not None:
            self.meet.wait(10)
        with self.lock:
            Lowered.running -= 1
        if self.name == BAD:
            raise RuntimeError("does not compile")
        return self.name


BAD = 13


def ignore(done, total, key):
    pass


def programs(measured, meet=None, num_threads=4, helpers=ALONE):
    """Programs 0, 1, 2, ...: each says what it measures."""
    Lowered.most = 0
    Lowered.order.clear()
    lowered = {i: Lowered(i, meet) for i in range(len(measured))}
    sources = {
        i: Source(lambda i=i: lowered[i], Compilation({"some_option": 1}, what) if what else PLAIN)
        for i, what in enumerate(measured)
    }
    return Programs(sources, num_threads, helpers=helpers), lowered


def compile_all(made, first, on_done):
    made.finish(made.begin(first), on_done)


def traced_in_order(made, first):
    """Compiles all; which programs were lowered, one after the other."""
    order = []
    for key, source in made._sources.items():

        def lower(key=key, lower=source.lower):
            order.append(key)
            return lower()

        made._sources[key] = dataclasses.replace(source, lower=lower)
    compile_all(made, first, ignore)
    for future in made._futures:
        future.result().result()  # traced, then compiled
    made.close(wait=True)
    return order


def test_programs_compile_side_by_side():
    made, lowered = programs([None] * 3, threading.Barrier(3))
    made.compile(range(3), ignore)
    assert (Lowered.most, made[2], lowered[2].options) == (3, 2, None)
    made.close(wait=True)


def test_programs_that_measure_compile_one_by_one():
    made, lowered = programs(["a", "b", "c", "d"])
    made.compile(range(4), ignore)
    assert made.is_complete
    assert Lowered.most == 1
    assert lowered[3].options == {"some_option": 1}
    made.close(wait=True)


def test_what_measures_the_same_waits_for_the_first_and_comes_last():
    made, _ = programs(["a", None, "a", "b", "a", None])
    done = []
    made.compile(range(6), lambda count, total, key: done.append((count, total, key)))
    assert [key for _, _, key in done] == [0, 3, 1, 5, 2, 4]
    assert Lowered.order.index(0) < Lowered.order.index(2)
    made.close(wait=True)


def test_what_is_quick_is_traced_as_soon_as_something_is_measured():
    made, _ = programs([None, "a", "b", None, None])
    made._sources[4] = Source(made._sources[4].lower, is_quick=True)
    assert traced_in_order(made, []) == [1, 4, 2, 0, 3]


def test_with_threads_to_spare_the_rest_compiles_beside_what_is_first():
    made, _ = programs([None] * 2, threading.Barrier(2), ENOUGH_THREADS)
    done = []
    compile_all(made, [1], lambda count, total, key: done.append((count, total, key)))
    assert done == [(1, 1, 1)]
    made.close(wait=True)
    assert made.is_complete
    assert made.failure() is None


def test_the_caller_does_something_else_while_what_is_first_compiles():
    beside = threading.Barrier(2)
    made, _ = programs([None, None], beside, ENOUGH_THREADS)
    begun = made.begin([0])
    beside.wait(10)
    assert list(begun) == [0]
    made.close(wait=True)


def test_with_few_threads_the_rest_begins_when_what_is_first_is_done():
    made, _ = programs([None] * 2)
    behind = []
    compile_all(made, [1], lambda *_: behind.append(list(made._futures)))
    assert behind == [[]]
    for future in made._futures:
        future.result().result()  # traced, then compiled
    assert made.is_complete
    made.close(wait=True)


@pytest.mark.parametrize("num_threads", [1, ENOUGH_THREADS])
def test_what_is_first_is_traced_first(num_threads):
    made, _ = programs([None, "a", None, "b", None], num_threads=num_threads)
    assert traced_in_order(made, [2, 3]) == [3, 2, 1, 0, 4]


class Others:
    """Helpers who have traced some programs all along."""

    def __init__(self, *traced):
        self.traced, self.told, self.ends = traced, None, 0

    def start(self, keys):
        self.told = list(keys)

    def has_traced(self, key):
        return key in self.traced

    def close(self):
        self.ends += 1


@pytest.mark.parametrize("num_threads", [1, ENOUGH_THREADS])
def test_what_others_have_traced_comes_before_what_nobody_has_but_behind_what_is_first(num_threads):
    others = Others(1, 4, 5)
    made, _ = programs([None] * 6, num_threads=num_threads, helpers=others)
    assert traced_in_order(made, [0, 1]) == [0, 1, 4, 5, 2, 3]
    assert made.is_complete
    assert others.told == [2, 3, 4, 5]
    assert others.ends > 0


def test_what_waits_for_a_measurement_is_not_taken_early():
    """The thread that traces would wait too."""
    measuring = Future()
    made, _ = programs(["a", "a", None], helpers=Others(1, 2))
    made._measured["a"] = measuring
    assert [made._is_at_hand(key) for key in (1, 2)] == [False, True]
    measuring.set_result(None)
    assert made._is_at_hand(1)
    made.close(wait=True)


@pytest.mark.parametrize("usual", [700, 0])
def test_while_it_is_traced_garbage_is_looked_for_rarely_or_never_as_before(usual):
    found, before = [], gc.get_threshold()

    def lower():
        found.append(gc.get_threshold()[0])
        raise RuntimeError("does not trace")

    made = Programs({0: Source(lower)}, num_threads=1)
    try:
        gc.set_threshold(usual, *before[1:])
        with pytest.raises(RuntimeError, match="does not trace"):
            made.compile([0], ignore)
        assert gc.get_threshold() == (usual, *before[1:])
    finally:
        gc.set_threshold(*before)
    assert found == [100 * 1000 if usual else 0]
    made.close(wait=True)


def test_what_is_traced_can_be_kept_though_much_compiles_still():
    traced, held = threading.Event(), threading.Barrier(2)
    source = Source(lambda: Lowered(0, held))
    made = Programs({0: source}, num_threads=1, keep=traced.set)
    compile_all(made, [], ignore)
    assert traced.wait(10)
    assert not made.is_complete
    held.wait(10)
    made.close(wait=True)


@pytest.mark.parametrize("wait", [True, False])
def test_an_end_that_waits_keeps_what_was_traced_so_far(wait):
    ends = []
    made = Programs(
        {0: Source(lambda: Lowered(0, None))}, 1, keep=lambda: ends.append(made.num_compiled)
    )
    made.compile([0], ignore)
    made.close(wait=wait)
    assert ends == [1] * wait


def test_a_failure_behind_is_told():
    made, _ = programs([None] * (BAD + 1))
    assert made.failure() is None
    compile_all(made, [], ignore)
    for future in made._futures:
        future.result().exception()  # waits
    assert str(made.failure()) == "does not compile"
    made.close(wait=True)


def test_what_is_given_up_as_python_ends_has_not_failed():
    gate = threading.Event()

    def lower():
        gate.wait(10)
        return Lowered("x", None)

    made = Programs({i: Source(lower) for i in range(3)}, num_threads=2)
    made._compiling.shutdown()  # as Python does with all pools
    compile_all(made, [], ignore)
    gate.set()
    made._tracing.shutdown()
    assert made.failure() is None
    assert made.num_compiled == 0


def test_giving_up_waits_for_nothing_that_measures():
    held = threading.Barrier(2)
    made, _ = programs(["a", "b", "b"], held)
    compile_all(made, [], ignore)
    while not Lowered.order:  # the first one compiles
        time.sleep(0.001)
    made.close(wait=False)
    held.wait(10)
    assert not made.is_complete


def test_nothing_is_asked_of_the_compiler_for_a_cpu():
    assert of_forward(1, "cpu", has_graphs=False) == PLAIN
    assert of_others("cpu") == PLAIN


@pytest.mark.parametrize(
    ("tokens", "options", "measures"),
    [
        (4, {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0}, None),
        (8, {}, "products of 8 tokens"),
        (128, {"xla_gpu_enable_triton_gemm": False}, "products of 128 tokens"),
        (32, {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0}, None),
        (129, {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0}, None),
    ],
)
def test_products_are_measured_where_it_pays_and_nothing_else(tokens, options, measures):
    nothing_else = {"xla_gpu_experimental_enable_fusion_autotuner": False}
    assert of_forward(tokens, "gpu") == Compilation(nothing_else | options, measures)
    assert of_others("gpu") == Compilation(nothing_else | {"xla_gpu_autotune_level": 0})


@pytest.mark.parametrize(
    ("tokens", "asked", "are_off"),
    [
        (1, {}, False),
        (8192, {}, False),
        (1, {"has_graphs": False}, True),
        (1, {"tp_size": 2}, True),
    ],
)
def test_steps_of_one_gpu_are_recorded_as_graphs(tokens, asked, are_off):
    options = of_forward(tokens, "gpu", **asked).options
    assert (options.get("xla_gpu_enable_command_buffer") == "") == are_off


@pytest.mark.parametrize(
    ("tokens", "tp_size", "is_off"), [(64, 2, False), (128, 2, True), (128, 1, False)]
)
def test_xlas_own_all_reduce_is_for_small_steps(tokens, tp_size, is_off):
    options = of_forward(tokens, "gpu", tp_size=tp_size).options
    assert any("reduce" in name or "collective" in name for name in options) == is_off


@pytest.mark.parametrize("num_threads", [1, ENOUGH_THREADS])
def test_what_comes_first_is_compiled_when_anything_else_begins(num_threads):
    others = Others(4)
    made, lowered = programs([None, None, "a", None, None, None], num_threads=num_threads)
    made._helpers = others
    together = threading.Barrier(min(num_threads, 2))
    for key in (3, 5):
        made._sources[key] = Source(made._sources[key].lower, OF_KERNEL)
        lowered[key].meet = together
    assert traced_in_order(made, [0, 1]) == [3, 5, 0, 1, 4, 2]
    assert others.told == [2, 4]
    assert set(Lowered.order[:2]) == {3, 5}
    assert made.is_complete


def test_a_failure_of_what_comes_first_is_told():
    made, _ = programs([None] * (BAD + 1), num_threads=2)
    made._sources[BAD] = Source(made._sources[BAD].lower, OF_KERNEL)
    with pytest.raises(RuntimeError, match="does not compile"):
        compile_all(made, [0], ignore)
    made.close(wait=True)

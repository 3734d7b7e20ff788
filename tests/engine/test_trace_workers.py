"""Processes that trace for an engine write what it would have traced, and nobody waits for them."""

import threading

import jax
import msgspec
import pytest
from jax import export

import sgjax
from sgjax.config import ServeConfig
from sgjax.engine import setup, trace_worker, trace_workers
from sgjax.engine.setup import prepare
from sgjax.engine.trace_workers import shares
from sgjax.models import decoder
from tests.engine.kept import KeptEngines

PROMPTS = [[5, 6, 7], [9] * 30]
PARAMS = {"max_new_tokens": 6, "ignore_eos": True, "temperature": 0.8, "seed": 3}
COUNT = 2


@pytest.fixture
def engines(tmp_path, monkeypatch):
    """As on a machine with cores for two processes."""
    monkeypatch.setattr(setup, "_num_trace_workers", lambda device: COUNT)
    monkeypatch.setattr(trace_workers, "_LEAST_SHARE", 2)
    monkeypatch.setattr(sgjax, "BEGAN_S", float("inf"))  # whatever is edited while tests run
    engines = KeptEngines(tmp_path)
    yield engines
    engines.close()


@pytest.fixture
def helpers(engines):
    """Those of an engine that has not begun to compile."""

    def prepared(**options):
        parts = prepare(ServeConfig(**engines.options, **options), lambda progress: None)
        prepared_parts.append(parts)
        return parts.runner.programs._helpers, parts.runner.blueprint.untraced

    prepared_parts = []
    yield prepared
    for parts in prepared_parts:
        parts.grammars.close()
        parts.runner.close(wait=True)


def untraceable(*_, **__):
    raise AssertionError("somebody traced what should have been kept")


def run(code):
    """As WORKER: Python that does something else."""
    return "-c", code


@pytest.mark.parametrize("tp_size", [1, 2])
def test_workers_trace_what_the_engine_would(no_leaks, engines, helpers, monkeypatch, tp_size):
    workers, programs = helpers(tp_size=tp_size)
    workers.start(list(programs))
    assert len(workers._processes) == COUNT
    assert [process.wait() for process in workers._processes] == [0] * COUNT
    assert len(engines.names) == len(programs)
    assert all(workers.has_traced(key) for key in programs)

    by_workers = engines.names
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "forward", untraceable)
        patch.setattr(export, "export", untraceable)
        patch.setattr(trace_workers.subprocess, "Popen", untraceable)
        engine = engines.start(tp_size=tp_size)
    found = [engine.generate(prompt, **PARAMS) for prompt in PROMPTS]
    assert engines.names == by_workers
    compiled = engines.compiled

    for name in by_workers:
        (engines.traced / name).unlink()
    monkeypatch.setattr(setup, "_num_trace_workers", lambda device: 0)
    engine = engines.start(tp_size=tp_size)
    assert engines.names == by_workers
    assert engines.compiled == compiled, "it has traced something else"
    assert [engine.generate(prompt, **PARAMS) for prompt in PROMPTS] == found


def test_an_engine_whose_workers_are_killed_is_complete(no_leaks, engines, monkeypatch):
    start = trace_workers.TraceWorkers.start

    def start_and_kill(self, keys):
        start(self, keys)
        killed.extend(self._processes)
        for process in killed:
            process.kill()
            process.wait()

    killed = []
    monkeypatch.setattr(trace_workers.TraceWorkers, "start", start_and_kill)
    programs = engines.start().setup.runner.programs
    assert len(killed) == COUNT
    assert programs.is_complete
    assert len(engines.names) == programs.num_compiled


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(3)",
        "import signal; signal.pause()",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); input(); signal.pause()",
    ],
    ids=["fails", "hangs", "goes on"],
)
def test_any_process_can_be_ended_and_what_it_has_not_written_is_not_taken(
    no_leaks, helpers, monkeypatch, code
):
    monkeypatch.setattr(trace_workers, "WORKER", run(code))
    workers, programs = helpers()
    workers.start(list(programs))
    processes = list(workers._processes)
    assert processes
    assert not any(workers.has_traced(key) for key in programs)
    workers.close()
    assert None not in [process.poll() for process in processes]


def test_where_no_process_starts_nobody_helps(helpers, monkeypatch, tmp_path):
    monkeypatch.setattr(trace_workers.sys, "executable", str(tmp_path / "no-python"))
    workers, programs = helpers()
    workers.start(list(programs))
    assert not workers._processes
    workers.close()


def test_workers_end_with_the_engine_and_leave_no_half_of_a_file(no_leaks, engines, helpers):
    workers, programs = helpers()
    workers.start(list(programs))
    processes = list(workers._processes)
    workers.close()
    assert [process.poll() is not None for process in processes] == [True] * COUNT
    written = engines.names if engines.traced.exists() else []
    assert set(written) <= {path.name for path in workers._paths.values()}


@pytest.mark.parametrize(
    ("num_cores", "count"), [(None, 0), (2, 0), (7, 0), (8, 2), (16, 4), (96, 4)]
)
def test_only_machines_with_cores_to_spare_have_workers(monkeypatch, num_cores, count):
    monkeypatch.setattr(setup.os, "cpu_count", lambda: num_cores)
    assert setup._num_trace_workers(jax.devices()[0]) == count


def test_shares_are_dealt_to_and_fro():
    assert shares("abcdefgh", 3) == [["a", "f", "g"], ["b", "e", "h"], ["c", "d"]]
    assert shares("abc", 1) == [["a", "b", "c"]]
    assert shares("", 0) == []


def test_without_a_folder_there_are_none(engines, helpers):
    engines.options["compile_cache_dir"] = ""
    assert helpers()[0] is setup.ALONE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"surroundings": ["jax 0.1"]}, "jax 0.1"),
        ({"cfg": "a config.json that has changed since"}, "changed since"),
        ({"names": ["of a program that it does not have"]}, "does not have"),
    ],
    ids=["surroundings", "model", "program"],
)
def test_a_worker_that_would_trace_something_else_traces_nothing(engines, helpers, change, reason):
    workers, programs = helpers()
    names = [workers._traces.name(program) for program in programs.values()][-1:]
    task = msgspec.structs.replace(workers._task, **({"names": names} | change))
    with pytest.raises((RuntimeError, KeyError), match=reason):
        trace_worker.trace(task, threading.Lock())
    assert not engines.traced.exists()


def test_a_task_is_plain_data(helpers):
    task = helpers()[0]._task
    line = msgspec.json.encode(task)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=trace_workers.Task) == task

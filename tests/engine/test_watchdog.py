import queue
import threading

import pytest

from sgjax.engine.watchdog import Watchdog


def test_a_phase_that_outlasts_its_deadline_is_reported_with_its_name(capfd):
    reports = queue.SimpleQueue()
    watchdog = Watchdog(0.2, reports.put)
    with watchdog.phase("step"):
        report = reports.get(timeout=10)
    watchdog.close()
    assert "'step' took more than" in report
    assert "test_watchdog" in capfd.readouterr().err


def test_phases_that_end_in_time_are_nobodys_business(no_leaks):
    reports = queue.SimpleQueue()
    watchdog = Watchdog(0.3, reports.put)
    gate = threading.Event()
    for _ in range(8):
        with watchdog.phase("step"):
            gate.wait(0.1)
    watchdog.close()
    with pytest.raises(queue.Empty):
        reports.get_nowait()

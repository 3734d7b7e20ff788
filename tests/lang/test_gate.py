"""Threads that wait for variables are woken one after the other."""

import subprocess
import sys
import threading

from sgjax.lang.gate import Gate
from sgjax.lang.variable import Feed


def asleep() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def test_a_thread_is_woken_once_the_one_before_it_runs() -> None:
    gate, first, second, third = Gate(), asleep(), asleep(), asleep()
    for each in (first, second, third):
        gate.wake(each)
    assert (first.locked(), second.locked(), third.locked()) == (False, True, True)
    gate.awake()
    assert (second.locked(), third.locked()) == (False, True)
    gate.awake()
    assert not third.locked()


def test_after_all_are_awake_the_next_is_woken_at_once() -> None:
    gate, first, second = Gate(), asleep(), asleep()
    gate.wake(first)
    gate.awake()
    gate.wake(second)
    assert not second.locked()


def test_what_a_thread_does_when_it_is_woken_holds_no_other_up() -> None:
    feeds = [Feed() for _ in range(20)]
    all_awake = threading.Barrier(len(feeds) + 1, timeout=30)

    def wait(feed: Feed) -> None:
        feed.wait()
        all_awake.wait()

    threads = [threading.Thread(target=wait, args=(feed,)) for feed in feeds]
    for thread in threads:
        thread.start()
    for feed in feeds:
        feed.close()
    all_awake.wait()
    for thread in threads:
        thread.join()


def test_a_child_process_waits_for_no_thread_of_its_parent() -> None:
    script = """
import os, threading
from sgjax.lang.gate import GATE
theirs = threading.Lock()
theirs.acquire()
GATE.wake(theirs)
child = os.fork()
if child == 0:
    mine = threading.Lock()
    mine.acquire()
    GATE.wake(mine)
    os._exit(mine.locked())
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0

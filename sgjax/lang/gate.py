"""Lets threads that have waited go on one after the other.

All at once they would fight for Python's lock: each wakes, finds it taken, and sleeps again. Here
each wakes the next before it does anything else, so none waits for what another does.
"""

import collections
import os
import threading


class Gate:
    """See the module. Nothing here waits for a lock, so that it may be called anywhere."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        """Of the thread that was woken, until it wakes the next."""
        self._asleep: collections.deque[threading.Lock] = collections.deque()

    def wake(self, sleeper: threading.Lock) -> None:
        """Releases it in its turn: who waits for it calls `awake` then."""
        self._asleep.append(sleeper)
        self._wake_next()

    def awake(self) -> None:
        self._turn.release()
        self._wake_next()

    def _wake_next(self) -> None:
        while self._asleep and self._turn.acquire(blocking=False):
            if self._asleep:
                self._asleep.popleft().release()
                return
            self._turn.release()


GATE = Gate()
"""Of the process, as Python's lock is."""

# A child has none of the threads whose turn it may be.
os.register_at_fork(after_in_child=GATE.__init__)

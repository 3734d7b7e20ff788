"""A program's variables by name."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future

from sgjax.lang.variable import Variable


class Variables:
    """Grows while the program runs. For any thread."""

    def __init__(self, inherited: Mapping[str, Variable] | None = None):
        """`inherited`: those of a fork's parent."""
        self._lock = threading.Lock()
        self._inherited = dict(inherited or {})
        self._known = dict(self._inherited)
        self._awaited: tuple[tuple[str, Future[Variable | None]], ...] = ()
        self._is_complete = False

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def get(self, name: str) -> Variable | None:
        return self._known.get(name)

    def all(self) -> dict[str, Variable]:
        with self._lock:
            return dict(self._known)

    def own(self) -> dict[str, Variable]:
        """Those that were not inherited as they are."""
        return {
            name: each for name, each in self.all().items() if each is not self._inherited.get(name)
        }

    def add(self, variable: Variable) -> None:
        """One of the same name is not found any more."""
        with self._lock:
            self._known[variable.name] = variable
            self._settle()

    def complete(self) -> None:
        """The program has ended: whoever waits for another need not."""
        with self._lock:
            self._is_complete = True
            self._settle()

    def coming(self, name: str) -> "Future[Variable | None]":
        """The variable as soon as the program comes to it; None if it ends before."""
        with self._lock:
            future: Future[Variable | None] = Future()
            self._awaited += ((name, future),)
            self._settle()
        return future

    def _settle(self) -> None:
        awaited, self._awaited = self._awaited, ()
        for name, future in awaited:
            if name not in self._known and not self._is_complete:
                self._awaited += ((name, future),)
            elif future.set_running_or_notify_cancel():  # a coroutine may have been cancelled
                future.set_result(self._known.get(name))

"""Sees an engine that hangs: dumps its stacks at half the deadline, tells the front at its end."""

import contextlib
import faulthandler
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

logger = logging.getLogger("sgjax.engine")


class Watchdog:
    """Watches the phases (compile, step) of one thread from another.

    `on_expire` is called once, from the watchdog's thread, with a sentence that names the phase;
    the hung thread itself cannot be helped.
    """

    def __init__(self, deadline_s: float, on_expire: Callable[[str], None]):
        self._deadline_s = deadline_s
        self._on_expire = on_expire
        self._phase: tuple[str, float] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sgjax-watchdog", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens inside must end before the deadline."""
        self._phase = (name, time.monotonic())
        try:
            yield
        finally:
            self._phase = None

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        dumped: tuple[str, float] | None = None
        while not self._closed.wait(min(1.0, self._deadline_s / 10)):
            phase = self._phase
            if phase is None:
                continue
            name, start = phase
            seconds = time.monotonic() - start
            if seconds > self._deadline_s / 2 and dumped != phase:
                dumped = phase
                logger.error("The engine has been in %r for %.0f s; its stacks:", name, seconds)
                _dump_stacks()
            if seconds > self._deadline_s:
                self._on_expire(
                    f"The engine hung: {name!r} took more than {self._deadline_s:.0f} s "
                    "(--watchdog-timeout). Its stacks are in the log."
                )
                return


def _dump_stacks() -> None:
    # A replaced stderr may have no file behind it; then there is nowhere to dump to.
    with contextlib.suppress(AttributeError, ValueError, OSError):
        faulthandler.dump_traceback(sys.stderr, all_threads=True)

"""What a person sees while an engine starts: bars in a terminal, lines of a log elsewhere."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)

from sgjax.engine.messages import Event, Failed, Progress, Ready, Serving

logger = logging.getLogger(__name__)

OnEvent = Callable[[Event], None]

_WORDS = {
    "load": "reading weights",
    "compile": "compiling programs",
    "background": "compiling the other programs",
}
_LINE_EVERY_S = 5.0


@contextmanager
def start_progress(console: Console | None = None) -> Iterator[OnEvent]:
    """Shows an engine's start; yields what to give its client as `on_event`.

    Events may come from any thread, and go on after the bars have closed (programs that compile
    while the engine serves): those are logged.
    """
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        yield LogLines()
        return
    shown = _Bars(console)
    with shown.bars:
        yield shown


class LogLines:
    """Progress as log lines: the first and the last of a phase, and one in five seconds between.

    A failure is not said here: whoever started the engine hears of it by an exception.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._phase = ""
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case Progress():
                self._progress(event)
            case Serving():
                logger.info("serving")
            case Ready():
                logger.info("every program is compiled (%.1f s)", event.seconds)

    def _progress(self, event: Progress) -> None:
        now = self._clock()
        is_new = event.phase != self._phase
        if is_new or event.done == event.total or now - self._last >= _LINE_EVERY_S:
            self._phase, self._last = event.phase, now
            detail = f" ({event.detail})" if event.detail else ""
            logger.info("%s: %d of %d%s", words(event), event.done, event.total, detail)


class _Bars:
    """Progress as a bar a phase, until the engine serves; then as log lines."""

    def __init__(self, console: Console):
        self.bars = make_bars(console)
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._lines = LogLines()
        self._is_over = False

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Progress) and not self._is_over:
                self._show(event)
                return
            self._is_over |= isinstance(event, Serving | Failed)
        if not isinstance(event, Serving):  # the bars have said so
            self._lines(event)

    def _show(self, event: Progress) -> None:
        if event.phase not in self._tasks:
            self._tasks[event.phase] = self.bars.add_task(words(event), total=None, detail="")
        self.bars.update(
            self._tasks[event.phase],
            completed=event.done,
            total=event.total,
            detail=event.detail,
        )


def make_bars(console: Console, *, auto_refresh: bool = True) -> Bars:
    """Bars that go away when they end. Their tasks have a field `detail`."""
    return Bars(
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
        console=console,
        transient=True,
        auto_refresh=auto_refresh,
    )


def words(event: Progress) -> str:
    return _WORDS.get(event.phase, event.phase)

"""One run of a program, and many."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.executor import Executor
from sgjax.lang.signature import Arguments
from sgjax.lang.state import ProgramState
from sgjax.lang.variable import Variable

_LEAST_THREADS = 96
_THREADS_A_CORE = 16


class Run:
    """A function, what it is called with, and the state that it writes."""

    def __init__(
        self,
        function: Callable[[ProgramState, Arguments], Any],
        executor: Executor,
        arguments: Arguments,
    ):
        self._function = function
        self._executor = executor
        self._arguments = arguments
        self._outcome = Variable("ret_value")
        self.state = ProgramState(executor, self._outcome)
        """For those who wait for the program."""

    def go(self) -> None:
        """In this thread. What the function raises ends its calls."""
        self._call()
        self._executor.end()

    def go_to_end(self) -> None:
        """Until all is done, too. An error is for those who read."""
        with contextlib.suppress(Exception):
            self.go()
        self.wait()

    def go_to_calls_end(self) -> None:
        """The same, but for texts behind the last call, which `finish` does."""
        with contextlib.suppress(Exception):
            self._call()
            self._executor.end_calls()

    def finish(self) -> None:
        self._executor.finish()

    def wait(self) -> None:
        """Until all of a program that has ended is done."""
        self._executor.feed.wait()

    def _call(self) -> None:
        try:
            value = self._function(ProgramState(self._executor), self._arguments)
            self._executor.check_end()
        except BaseException as error:
            self.abort(error)
            self._executor.sync()
            assert self._executor.error is not None
            self._outcome.fail(self._executor.error)
            self._executor.variables.complete()
            raise
        self._executor.variables.complete()
        self._outcome.set(value)

    def go_in_thread(self) -> None:
        threading.Thread(target=self.go_to_end, name="sgjax-program", daemon=True).start()

    def abort(self, error: BaseException) -> None:
        """Ends its calls."""
        self._executor.abort(error)


def run_all(runs: Sequence[Run], num_threads: int, *, has_bar: bool) -> None:
    """So many at a time, to their ends."""
    left = iter(list(runs))  # threads may share a list's

    def work(tell: Callable[[], object]) -> None:
        for run in left:
            run.go_to_calls_end()
            tell()

    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="sgjax-program")
    try:
        with _bar(len(runs)) if has_bar else contextlib.nullcontext(_nothing) as tell:
            threads = [pool.submit(work, tell) for _ in range(num_threads)]
            for thread in wait(threads, return_when=FIRST_EXCEPTION).done:
                thread.result()
        for run in runs:
            run.finish()
        for run in runs:
            run.wait()
    except BaseException as error:  # an interrupt: nobody waits for the others
        for _ in left:
            pass
        for run in runs:
            run.abort(error)
        raise
    finally:
        pool.shutdown()


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[], object]]:
    """Shows how many are done: each calls what it gives."""
    from rich.progress import Progress

    with Progress() as progress:
        task = progress.add_task("Programs", total=total)
        yield lambda: progress.advance(task)


def _nothing() -> None:
    pass


def count_threads(asked: Any, num_items: int) -> int:
    """Raises InvalidProgram unless this is "auto" or a number from 1 on."""
    if asked == "auto":
        return min(num_items, max(_LEAST_THREADS, _THREADS_A_CORE * (os.cpu_count() or 1)))
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise InvalidProgram(f'num_threads must be "auto" or a number from 1 on, not {asked!r}.')
    return min(asked, num_items)

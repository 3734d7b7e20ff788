"""What a program holds in its hand: `s`, and the groups that it forks."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.executor import Executor, JoinTexts
from sgjax.lang.expressions import (
    Appendable,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    as_expression,
    check_name,
)
from sgjax.lang.variable import Variable

_HERE = str(Path(__file__).parent)
GATHER = "gather_variable"
CONCATENATE = "concate_and_append"


class ProgramState:
    """The state of one run. `s += ...` appends and does not wait; reading a variable does.

    s += "The capital of France is" + gen("capital", stop=".")
    print(s["capital"])
    """

    def __init__(self, executor: Executor):
        self._executor = executor
        self.ret_value: Any = None
        """What the program's function returned."""

    # Appending.

    def __iadd__(self, other: Appendable) -> "ProgramState":
        if other is None:
            raise InvalidProgram("None cannot be appended. Is a return missing?")
        self._executor.submit(as_expression(other), _line())
        return self

    def system(self, expression: Appendable | None = None) -> Any:
        return self._role("system", expression)

    def user(self, expression: Appendable | None = None) -> Any:
        return self._role("user", expression)

    def assistant(self, expression: Appendable | None = None) -> Any:
        return self._role("assistant", expression)

    def _role(self, role: str, expression: Appendable | None) -> Any:
        """A whole message, or a `with` block of it."""
        if expression is None:
            return self._between(RoleBegin(role), RoleEnd(role))
        self += RoleBegin(role) + as_expression(expression) + RoleEnd(role)
        return None

    @contextlib.contextmanager
    def _between(self, begin: Any, end: Any) -> Iterator["ProgramState"]:
        line = _line()
        self._executor.submit(begin, line)
        yield self
        self._executor.submit(end, line)

    def var_scope(self, name: str) -> contextlib.AbstractContextManager["ProgramState"]:
        """All text that is appended inside is the value of a variable."""
        check_name(name)
        return self._between(ScopeBegin(name), ScopeEnd(name))

    # Reading.

    def __getitem__(self, name: str) -> Any:
        return self.get_var(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set_var(name, value)

    def __contains__(self, name: str) -> bool:
        return name in self._executor.variables

    def get_var(self, name: str) -> Any:
        """Waits for a variable's value.

        Raises:
            UnknownVariable: nothing makes it.
            ProgramFailed: it cannot be had.
        """
        return self._find(name).get()

    def get_meta_info(self, name: str) -> Any:
        """What the backend says of how a variable was made, once it is there."""
        variable = self._find(name)
        variable.get()
        return variable.meta_info

    def set_var(self, name: str, value: Any) -> None:
        check_name(name)
        self._executor.set(name, value)

    def text(self) -> str:
        """All text, once all of it is there."""
        return self._executor.transcript.text

    def messages(self) -> list[dict[str, Any]]:
        """All messages, in OpenAI's form, once they are there."""
        return self._executor.transcript.open_messages()

    def sync(self) -> "ProgramState":
        """Waits until all that was appended is done, or has failed."""
        self._executor.sync()
        return self

    def error(self) -> Exception | None:
        """Why it failed, if it did."""
        self._executor.sync()
        return self._executor.error

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """The text, or a variable's, piece by piece as it comes."""
        yield from self._executor.feed if var_name is None else self._find(var_name).feed

    async def text_async_iter(
        self, var_name: str | None = None, return_meta_data: bool = False
    ) -> AsyncIterator[Any]:
        """The same from a coroutine; with `return_meta_data` (piece, meta_info) of a variable."""
        if return_meta_data and var_name is None:
            raise InvalidProgram("return_meta_data is of a variable: name one.")
        if var_name is None:
            feed, variable = self._executor.feed, None
        else:
            # A program that is streamed may yet have to come to it.
            variable = await asyncio.to_thread(self._find, var_name)
            feed = variable.feed
        async for piece in feed:
            yield (piece, variable.meta_info) if variable and return_meta_data else piece

    def _find(self, name: str) -> Variable:
        return self._executor.variable(name)

    # Going several ways.

    def fork(
        self, size: int = 1, position_ids_offset: Sequence[int] | None = None
    ) -> "ProgramStateGroup":
        """So many states that go on from here by themselves. Their calls run at the same time.

        `position_ids_offset` is there for SGLang's sake, which ignores it too.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidProgram(f"fork takes a number of states from 1 on, not {size!r}.")
        children = self._executor.fork(size, _line())
        return ProgramStateGroup([ProgramState(child) for child in children], self)

    @contextlib.contextmanager
    def copy(self) -> Iterator["ProgramState"]:
        """One state that goes on from here, for a `with` block."""
        with self.fork(1) as group:
            yield group[0]


class ProgramStateGroup:
    """States that were forked from one."""

    def __init__(self, states: list[ProgramState], source: ProgramState):
        self.states = states
        self._source = source
        self._is_joined = False

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[ProgramState]:
        return iter(self.states)

    def __getitem__(self, index: int) -> ProgramState:
        return self.states[index]

    def __setitem__(self, index: int, state: ProgramState) -> None:
        """`group[i] += ...` ends here."""
        if state is not self.states[index]:
            raise InvalidProgram("A fork cannot be replaced by another state.")

    def __iadd__(self, other: "Appendable | Callable[[int], Appendable]") -> "ProgramStateGroup":
        """Appends the same to all; or to each what a function of its index gives; or, of a list as
        long as the group, to each its own."""
        if callable(other):
            parts: Sequence[Any] = [other(index) for index in range(len(self))]
        elif isinstance(other, Sequence) and not isinstance(other, str):
            if len(other) != len(self):
                raise InvalidProgram(
                    f"The list has {len(other)} parts, but there are {len(self)} forks."
                )
            parts = other
        else:
            parts = [other] * len(self)
        for state, part in zip(self.states, parts, strict=True):
            state += part
        return self

    def join(self, mode: str = GATHER) -> None:
        """Goes on in the state that was forked.

        Args:
            mode: "gather_variable": what forks made is a list there, by name. "concate_and_append":
                what they said is appended there, one after the other.

        Raises:
            InvalidProgram: the mode is unknown, or the group was joined before.
        """
        if self._is_joined:
            raise InvalidProgram("The forks were joined before. Fork again to go on.")
        match mode:
            case "gather_variable":
                self._gather()
            case "concate_and_append":
                children = tuple(state._executor for state in self.states)
                self._source._executor.submit(JoinTexts(children), _line())
            case _:
                raise InvalidProgram(f"join takes {GATHER!r} or {CONCATENATE!r}, not {mode!r}.")
        self._is_joined = True

    def _gather(self) -> None:
        """A list in the source for each variable that all forks made since."""
        before = self._source._executor.variables
        for name, variable in self.states[0]._executor.variables.items():
            if before.get(name) is variable:
                continue
            found = [state._executor.variables.get(name) for state in self.states]
            if None not in found:
                self._source._executor.make(_gathered(name, [each for each in found if each]))

    def __enter__(self) -> "ProgramStateGroup":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None and not self._is_joined:
            self.join()


def _gathered(name: str, parts: Sequence[Variable]) -> Variable:
    """The list of values of several, when all are there."""
    whole = Variable(name)

    def done(_: "Future[Any]") -> None:
        if not all(part.value.done() for part in parts):
            return
        errors = [part.value.exception() for part in parts]
        if error := next(filter(None, errors), None):
            whole.fail(error)
        else:
            whole.set([part.value.result() for part in parts], [p.meta_info for p in parts])

    for part in parts:
        part.value.add_done_callback(done)
    return whole


def _line() -> str:
    """The line of the program that is being run: the nearest outside of the language."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

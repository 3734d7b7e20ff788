"""What a program holds in its hand: `s`, and the groups that it forks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, overload

from sgjax.errors import InvalidProgram
from sgjax.lang.executor import Executor
from sgjax.lang.expressions import (
    Appendable,
    Expression,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Text,
    as_expression,
    check_name,
)
from sgjax.lang.place import NOWHERE, Place, here
from sgjax.lang.variable import Feed, Variable, gathered, known

GATHER = "gather_variable"
CONCATENATE = "concate_and_append"


class ProgramState:
    """The state of one run. `s += ...` appends and does not wait; reading a variable does.

    s += "The capital of France is" + gen("capital", stop=".")
    print(s["capital"])
    """

    def __init__(self, executor: Executor, outcome: Variable | None = None):
        """`outcome`: what the program's function returns, for those who read from outside: what it
        is yet to come to, they wait for. The program itself would wait for ever."""
        self._executor = executor
        self._outcome = outcome

    @property
    def ret_value(self) -> Any:
        """What the program's function returned. Raises ProgramFailed where it failed."""
        return None if self._outcome is None else self._outcome.get()

    # Appending.

    def __iadd__(self, other: Appendable) -> "ProgramState":
        expression = as_expression(other)
        place = NOWHERE if isinstance(expression, Text) else here()  # text does not fail later
        self._executor.submit(expression, place)
        return self

    @overload
    def system(self, expression: None = None) -> AbstractContextManager["ProgramState"]: ...

    @overload
    def system(self, expression: Appendable) -> None: ...

    def system(self, expression: Appendable | None = None) -> Any:
        """A system message: a whole one, or a `with` block of it."""
        return self._role("system", expression)

    @overload
    def user(self, expression: None = None) -> AbstractContextManager["ProgramState"]: ...

    @overload
    def user(self, expression: Appendable) -> None: ...

    def user(self, expression: Appendable | None = None) -> Any:
        """A user's message: a whole one, or a `with` block of it."""
        return self._role("user", expression)

    @overload
    def assistant(self, expression: None = None) -> AbstractContextManager["ProgramState"]: ...

    @overload
    def assistant(self, expression: Appendable) -> None: ...

    def assistant(self, expression: Appendable | None = None) -> Any:
        """The model's message: a whole one, or a `with` block of it."""
        return self._role("assistant", expression)

    def _role(self, role: str, expression: Appendable | None) -> Any:
        if expression is None:
            return self._between(RoleBegin(role), RoleEnd(role), here())
        self += RoleBegin(role) + as_expression(expression) + RoleEnd(role)
        return None

    @contextlib.contextmanager
    def _between(
        self, begin: Expression, end: Expression, place: Place
    ) -> Iterator["ProgramState"]:
        self._executor.submit(begin, place)
        try:
            yield self
        finally:
            self._executor.submit(end, place)

    def var_scope(self, name: str) -> AbstractContextManager["ProgramState"]:
        """All text that is appended inside is the value of a variable."""
        check_name(name, is_needed=True)
        return self._between(ScopeBegin(name), ScopeEnd(name), here())

    # Reading.

    def __getitem__(self, name: str) -> Any:
        return self.get_var(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set_var(name, value)

    def __contains__(self, name: str) -> bool:
        if self._outcome is None:
            return name in self._executor.variables
        return self._executor.variables.coming(name).result() is not None

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
        """Gives a variable a value of the program's own. Nothing is appended."""
        check_name(name, is_needed=True)
        self._executor.variables.add(known(name, value))

    def text(self) -> str:
        """All text, once all of it is there."""
        return self.sync()._executor.transcript.text

    def messages(self) -> list[dict[str, Any]]:
        """All messages, in OpenAI's form, once they are there."""
        return self.sync()._executor.transcript.open_messages()

    def sync(self) -> "ProgramState":
        """Waits until all that was appended is done, or has failed."""
        if self._outcome is not None:
            self._outcome.feed.wait()
        self._executor.sync()
        return self

    def error(self) -> Exception | None:
        """Why it failed, if it did."""
        return self.sync()._executor.error

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """The text, or a variable's, piece by piece as it comes."""
        yield from self._all_text() if var_name is None else self._find(var_name).feed

    @overload
    def text_async_iter(
        self, var_name: str | None = None, return_meta_data: Literal[False] = False
    ) -> AsyncIterator[str]: ...

    @overload
    def text_async_iter(
        self, var_name: str | None = None, *, return_meta_data: Literal[True]
    ) -> AsyncIterator[tuple[str, Any]]: ...

    async def text_async_iter(
        self, var_name: str | None = None, return_meta_data: bool = False
    ) -> AsyncIterator[Any]:
        """The same from a coroutine; with `return_meta_data` (piece, meta_info) of a variable."""
        if var_name is None:
            if return_meta_data:
                raise InvalidProgram("return_meta_data is of a variable: name one.")
            async for piece in self._all_text():
                yield piece
            return
        variable = await self._find_async(var_name)
        async for piece in variable.feed:
            yield (piece, variable.meta_info) if return_meta_data else piece

    def _all_text(self) -> Feed:
        """To the program's end; within the program, what was appended up to now."""
        is_outside = self._outcome is not None
        return self._executor.feed if is_outside else self._executor.text_up_to_now()

    def _find(self, name: str) -> Variable:
        if self._outcome is None:
            return self._executor.variable(name)
        return self._found(name, self._executor.variables.coming(name).result())

    async def _find_async(self, name: str) -> Variable:
        if self._outcome is None:
            return self._executor.variable(name)
        coming = self._executor.variables.coming(name)
        return self._found(name, await asyncio.wrap_future(coming))

    def _found(self, name: str, variable: Variable | None) -> Variable:
        if variable is None:
            raise self._executor.missing(name)
        return variable

    # Going several ways.

    def fork(
        self, size: int = 1, position_ids_offset: Sequence[int] | None = None
    ) -> "ProgramStateGroup":
        """So many states that go on from here by themselves. Their calls run at the same time.

        `position_ids_offset` is there for SGLang's sake, which ignores it too.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidProgram(f"fork takes a number of states from 1 on, not {size!r}.")
        children = self._executor.fork(size, here())
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
        expressions = [as_expression(part) for part in parts]
        for state, expression in zip(self.states, expressions, strict=True):
            state += expression
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
                forks = [state._executor for state in self.states]
                self._source._executor.join(forks, here())
            case _:
                raise InvalidProgram(f"join takes {GATHER!r} or {CONCATENATE!r}, not {mode!r}.")
        self._is_joined = True

    def _gather(self) -> None:
        """A list in the source for each variable that forks made, of those that made it."""
        for state in self.states:
            state._executor.ask()
        made = [state._executor.variables.own() for state in self.states]
        for name in dict.fromkeys(name for own in made for name in own):
            parts = [own[name] for own in made if name in own]
            self._source._executor.variables.add(gathered(name, parts))

    def __enter__(self) -> "ProgramStateGroup":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None and not self._is_joined:
            self.join()

"""The arguments of a program's function, behind its state."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.state import ProgramState

Arguments = Mapping[str, Any]
"""By name; those of `*args` are a tuple, those of `**kwargs` a dict."""


class Signature:
    """What a function takes."""

    def __init__(self, function: Callable[..., Any]):
        """Raises InvalidProgram unless the first argument is s and a call runs it."""
        self._name = getattr(function, "__name__", "program")
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise InvalidProgram(
                f"{self._name} must be a plain function: a call of one with async or yield does "
                "not run it. Read its text in a coroutine by text_async_iter."
            )
        self._signature = inspect.signature(function)
        self._function = function
        parameters = list(self._signature.parameters.values())
        if not parameters or parameters.pop(0).name != "s":
            raise InvalidProgram(
                f"The first argument of {self._name} must be s, the program's state: "
                f"def {self._name}(s, ...)."
            )
        kinds = {each.kind: each.name for each in parameters}
        self._rest = kinds.get(inspect.Parameter.VAR_POSITIONAL)
        self._others = kinds.get(inspect.Parameter.VAR_KEYWORD)
        self._named = [each for each in parameters if each.name not in (self._rest, self._others)]
        self.names = [each.name for each in self._named]
        self.required = [each.name for each in self._named if each.default is each.empty]
        """Those without a default."""
        self._are_all_named = len(self._named) == len(parameters) and not any(
            each.kind is each.POSITIONAL_ONLY for each in self._named
        )

    def call(self, state: ProgramState, arguments: Arguments) -> Any:
        if self._are_all_named:
            return self._function(state, **arguments)
        bound = inspect.BoundArguments(self._signature, {"s": state, **arguments})  # pyright: ignore[reportArgumentType]
        return self._function(*bound.args, **bound.kwargs)

    def check(self, name: str) -> None:
        """Raises InvalidProgram unless there is such an argument."""
        if name not in self.names and self._others is None:
            raise InvalidProgram(f"{self._name} has no argument {name!r}. It has {self._known()}.")

    def arguments(
        self, bound: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Arguments:
        """Those of a call, behind what is bound. Raises InvalidProgram where they do not fit."""
        free = [
            each.name
            for each in self._named
            if each.kind is not each.KEYWORD_ONLY and each.name not in bound
        ]
        if len(args) > len(free) and self._rest is None:
            raise InvalidProgram(
                f"{self._name} takes {len(free)} arguments, but {len(args)} were given."
            )
        by_place = dict(zip(free, args, strict=False))
        found = self.arrange({**bound, **by_place, **kwargs})
        if len(args) > len(free):
            found[str(self._rest)] = tuple(args[len(free) :])
        for name in by_place:
            if name in kwargs:
                raise self._misfit(f"{name!r} is given twice")
        for name in self.required:
            if name not in found:
                raise self._misfit(f"{name!r} is missing")
        return found

    def arrange(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What was given by name. Raises InvalidProgram for what it does not take."""
        found = {name: value for name, value in given.items() if name in self.names}
        others = {name: value for name, value in given.items() if name not in found}
        if others and self._others is None:
            raise self._misfit(f"it has no {min(others)!r}")
        return {**found, **({self._others: others} if self._others and others else {})}

    def _misfit(self, why: str) -> InvalidProgram:
        return InvalidProgram(
            f"The arguments do not fit {self._name}: {why}. Its arguments are: {self._known()}."
        )

    def _known(self) -> str:
        return ", ".join(self.names) or "none"

"""What a program begins with before it looks at its arguments: what all items of a batch share.

The function is run with arguments that end it when they are looked at, and with a state that ends
it at the first call of the model.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from sgjax.lang.chat_template import ChatTemplate
from sgjax.lang.expressions import (
    Appendable,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Text,
    as_expression,
    leaves,
)
from sgjax.lang.place import Place
from sgjax.lang.state import ProgramState
from sgjax.lang.transcript import Transcript


class _Stop(BaseException):
    """The program came to something that is not the same for all."""


class Argument:
    """Stands for an argument that differs. Whatever is done with it ends the trace."""

    def __init__(self, name: str):
        object.__setattr__(self, "_name", name)

    def _stop(self, *_: Any, **__: Any) -> NoReturn:
        raise _Stop

    __getattribute__ = _stop
    __str__ = __repr__ = __format__ = __bool__ = __len__ = __iter__ = __getitem__ = _stop
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __rmod__ = _stop
    __truediv__ = __floordiv__ = __neg__ = __abs__ = __int__ = __float__ = __index__ = _stop
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = __contains__ = _stop
    __call__ = __enter__ = __exit__ = __setattr__ = __setitem__ = _stop


class _Tracer:
    """In an executor's place: keeps text, and ends at all else."""

    def __init__(self, template: ChatTemplate):
        self.transcript = Transcript(template)
        self.variables: dict[str, Any] = {}

    def submit(self, expression: Appendable, place: Place) -> None:
        if isinstance(sys.exception(), _Stop):  # a `finally` of the program's
            return
        for leaf in leaves(as_expression(expression)):
            match leaf:
                case ScopeBegin() | ScopeEnd():
                    pass
                case Text(text):
                    self.transcript.append(text)
                case RoleBegin(role):
                    self.transcript.begin_role(role)
                case RoleEnd(role):
                    self.transcript.end_role(role)
                case _:
                    raise _Stop

    def __getattr__(self, name: str) -> Any:
        raise _Stop


def traced_prefix(
    function: Callable[[ProgramState, Mapping[str, Any]], Any],
    arguments: Mapping[str, Any],
    template: ChatTemplate,
) -> str:
    """The text that a program begins with. `arguments`: those that are the same for all items, and
    an Argument for each that is not.

    So it ends too where the program fails, which whoever runs it will be told.
    """
    tracer: Any = _Tracer(template)
    with contextlib.suppress(_Stop, Exception):
        function(ProgramState(tracer), arguments)
    return tracer.transcript.text


def same_arguments(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the arguments of several runs: those that are the same in all, and an Argument for each
    other."""
    names = dict.fromkeys(name for item in items for name in item)
    return {name: _same([item.get(name, _LEFT_OUT) for item in items], name) for name in names}


_LEFT_OUT = object()


def _same(values: list[Any], name: str) -> Any:
    first = values[0]
    if all(
        value is first or (_is_plain(first) and type(value) is type(first) and value == first)
        for value in values
    ):
        with contextlib.suppress(_NotPlain):
            return _copied(first)
    return Argument(name)


class _NotPlain(Exception):
    """A value that a program might change, or that is not cheap to copy."""


def _is_plain(value: Any) -> bool:
    return type(value) in (str, int, float, bool, type(None))


def _copied(value: Any) -> Any:
    """So that a program that is run for its prefix alone changes nothing of the caller's."""
    if _is_plain(value):
        return value
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    if type(value) is dict:
        return {key: _copied(each) for key, each in value.items()}
    raise _NotPlain

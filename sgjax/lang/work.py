"""What stands in an executor's queue."""

import dataclasses
from concurrent.futures import Future
from typing import TYPE_CHECKING

from sgjax.errors import ProgramFailed
from sgjax.lang.expressions import Expression, RoleBegin, RoleEnd
from sgjax.lang.place import Place
from sgjax.lang.variable import Feed, Variable

if TYPE_CHECKING:
    from sgjax.lang.worker import Worker


@dataclasses.dataclass(frozen=True)
class Fork(Expression):
    """Others go on from here."""

    forks: "tuple[Worker, ...]"


@dataclasses.dataclass(frozen=True)
class Said(Expression):
    """Somebody wants the text since the fork."""

    text: "Future[str]"


@dataclasses.dataclass(frozen=True)
class Join(Expression):
    """What forks said, one after the other."""

    texts: "tuple[Future[str], ...]"


@dataclasses.dataclass(frozen=True)
class Mark(Expression):
    """Somebody waits until all before this is done: `reached` is closed then."""

    reached: Feed


@dataclasses.dataclass(slots=True)  # one that is frozen takes four times as long to make
class Work:
    """A part of what the program appended."""

    what: Expression
    variable: Variable | None
    """That it makes."""
    place: Place


@dataclasses.dataclass(frozen=True)
class Turn(Expression):
    """What an assistant's message says, asked for as a whole."""

    works: tuple[Work, ...]


def failure(error: BaseException, work: Work | None) -> ProgramFailed:
    """What `error` is for whoever reads from the program. Its traceback leads to the program's own
    line."""
    if isinstance(error, ProgramFailed) and work is None:
        return error.again()
    what = _name(work.what) if work is not None else "The program"
    place = f", at {work.place}" if work is not None and work.place.steps else ""
    failed = ProgramFailed(f"{what} failed{place}: {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed.with_traceback(work.place.traceback()) if work is not None else failed


def _name(expression: Expression) -> str:
    """As the program writes it."""
    match expression:
        case RoleBegin(role):
            return f"{role}_begin()"
        case RoleEnd(role):
            return f"{role}_end()"
        case Turn():
            return "assistant()"
    name = getattr(expression, "name", None)
    kind = getattr(expression, "kind", type(expression).__name__.lower())
    return f"{kind}({name!r})" if name else f"{kind}()"

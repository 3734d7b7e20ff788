"""The program's side of a run: puts what is appended into a queue, and does not wait.

A fork is an executor of its own, which begins with what its parent has when it comes to the fork.
"""

from collections.abc import Sequence
from concurrent.futures import Future

from sgjax.errors import InvalidProgram, ProgramFailed, UnknownVariable
from sgjax.lang.backends.contract import Backend, takes_turns
from sgjax.lang.calls import Defaults
from sgjax.lang.expressions import (
    Expression,
    Gen,
    Media,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Select,
    Text,
    leaves,
)
from sgjax.lang.place import NOWHERE, Place
from sgjax.lang.transcript import Transcript, role_behind
from sgjax.lang.variable import Feed, Variable
from sgjax.lang.variables import Variables
from sgjax.lang.work import Fork, Join, Mark, Said, Turn, Work, failure
from sgjax.lang.worker import Worker, shut_down

_CAN_WAIT = (Text, RoleBegin, RoleEnd, ScopeBegin)
"""What may stay in the queue until something comes that takes a while, or is waited for: to wake
the loop takes longer than to append a text."""

_OF_TURNS = (Text, Gen, ScopeBegin, ScopeEnd)
"""What a TurnBackend is asked for together."""


class Executor:
    """One program's, or one fork's. Its methods may be called from any thread but the loop's."""

    def __init__(
        self,
        backend: Backend,
        defaults: Defaults,
        *,
        is_streamed: bool = False,
        parent: "Executor | None" = None,
    ):
        self.backend = backend
        self.variables = Variables(parent.variables.all() if parent else None)
        transcript = None if parent else Transcript(backend.chat_template)
        self._worker = Worker(backend, defaults, transcript, is_streamed=is_streamed)
        # Behind all that was submitted:
        self._role = parent._role if parent else None
        self._role_begun = NOWHERE
        self._open_scopes: list[Variable] = []
        self._all_called = self.feed if parent else None
        """Closed once all work that cannot wait is done; None: there was none."""
        # Of an assistant's message that a TurnBackend is not yet asked for:
        self._holds_turns = takes_turns(backend)
        self._held: list[Work] = []

    @property
    def feed(self) -> Feed:
        """All of its text."""
        return self._worker.feed

    @property
    def error(self) -> ProgramFailed | None:
        return self._worker.error

    def submit(self, expression: Expression, place: Place) -> None:
        """Puts an expression behind all others. Its variables are known from now on.

        Raises:
            InvalidProgram: it cannot stand here, and nothing of it was put there.
            EngineDead: the backend was shut down.
        """
        parts, role = leaves(expression), self._role
        for part in parts:
            if not isinstance(part, Text):  # which can stand anywhere
                role = role_behind(part, role)
                self._check(part)
        is_urgent = self._worker.is_streamed
        for part in parts:
            is_urgent |= self._put(part, place)
        if is_urgent and not self._wake():
            raise shut_down()

    def fork(self, count: int, place: Place) -> list["Executor"]:
        forks = [
            Executor(
                self.backend,
                self._worker.defaults,
                is_streamed=self._worker.is_streamed,
                parent=self,
            )
            for _ in range(count)
        ]
        self.submit(Fork(tuple(fork._worker for fork in forks)), place)
        return forks

    def join(self, forks: Sequence["Executor"], place: Place) -> None:
        """Appends what forks have said up to now."""
        texts = tuple(Future[str]() for _ in forks)
        for fork, text in zip(forks, texts, strict=True):
            fork.submit(Said(text), place)
        self.submit(Join(texts), place)

    def variable(self, name: str) -> Variable:
        """One that the program has made. Raises UnknownVariable where nothing made it, and
        InvalidProgram within a scope of that name, which would be waited for forever."""
        found = self.variables.get(name)
        if found is None:
            raise self.missing(name)
        if found.is_open:
            raise InvalidProgram(
                f"The scope {name!r} is still open. Read its text behind its `with` block."
            )
        self.ask()
        return found

    def ask(self) -> None:
        """Does not hold anything back any more: somebody waits for it."""
        if self._release():
            self._wake()

    def missing(self, name: str) -> ProgramFailed:
        """Why a variable is not there: there is none, or an error came before it."""
        if self.error is not None:
            return self.error.again()
        names = ", ".join(map(repr, self.variables.all())) or "none yet"
        return UnknownVariable(
            f"No part of the program makes a variable {name!r}. There are: {names}."
        )

    def sync(self) -> None:
        """Waits until all that was submitted is done, or will not be."""
        reached = Feed()
        self._mark(reached)
        reached.wait()

    def text_up_to_now(self) -> Feed:
        """Grows until all that was submitted is done."""
        part, reached = Feed(), Feed()

        def hear(piece: str | None) -> None:
            part.put(piece or "")

        def close() -> None:
            self.feed.leave(hear)
            part.close(self.error)

        self.feed.listen(hear)
        reached.when_closed(close)
        self._mark(reached)
        return part

    @property
    def transcript(self) -> Transcript:
        """After all that was submitted. Raises ProgramFailed where that failed."""
        self.sync()
        if self.error is not None:
            raise self.error.again()
        transcript = self._worker.transcript
        assert transcript is not None
        return transcript

    def check_end(self) -> None:
        """Raises InvalidProgram where a message began that has not ended, unless it is the
        assistant's, which may be left to be gone on with."""
        if self._role is not None and self._role != "assistant":
            raise InvalidProgram(
                f"The {self._role} message that began at {self._role_begun} has not ended when the "
                f"program does. End it: {self._role}_end()."
            ).with_traceback(self._role_begun.traceback())

    def end(self) -> None:
        """Nothing more comes: who reads its text comes to the end."""
        self._mark(self.feed)

    def end_calls(self) -> None:
        """The same, but waits until all is done, or nothing but texts is left for `finish`: they
        take no time to speak of, and to wake the loop for each program's does."""
        self._put_mark(self.feed)
        if self._all_called is not None and not self._all_called.is_closed:
            self._wake()
            self.feed.wait()

    def finish(self) -> None:
        """Does what `end_calls` left."""
        if not self.feed.is_closed:
            self._wake()

    def abort(self, error: BaseException) -> None:
        """Gives up what is not done, and all forks."""
        self._release()
        failed = failure(error, None)
        if not self.backend.loop.call_soon(self._worker.abort, failed):
            self.backend.loop.join()
            self._worker.abort(failed)

    def _mark(self, reached: Feed) -> None:
        """Closes it once all that was submitted is done, or will not be."""
        self._put_mark(reached)
        self._wake()

    def _put_mark(self, reached: Feed) -> None:
        self._release()
        self._worker.queue.append(Work(Mark(reached), None, NOWHERE))

    def _put(self, part: Expression, place: Place) -> bool:
        """Into the queue. A TurnBackend's texts and gens in an assistant's message wait until
        something else comes. False: what is there can wait."""
        variable = None if isinstance(part, Text) else self._note(part, place)
        work = Work(part, variable, place)
        if self._holds_turns and self._role == "assistant" and isinstance(part, _OF_TURNS):
            self._held.append(work)
            return False
        is_urgent = self._release() or not isinstance(part, _CAN_WAIT)
        if is_urgent:
            self._all_called = self.feed if variable is None else variable.feed
        self._worker.queue.append(work)
        return is_urgent

    def _release(self) -> bool:
        """What was held comes into the queue. False: nothing was."""
        if not self._held:
            return False
        places = [work.place for work in self._held if work.place is not NOWHERE]
        place = places[-1] if places else NOWHERE
        self._worker.queue.append(Work(Turn(tuple(self._held)), None, place))
        self._all_called = self.feed
        self._held.clear()
        return True

    def _check(self, part: Expression) -> None:
        if isinstance(part, Media) and part.kind not in self.backend.reads:
            what = ", ".join(sorted({"text", *self.backend.reads}))
            raise InvalidProgram(
                f"The backend reads {what}, and no {part.kind}. Leave it out, or choose a backend "
                "with a model that reads it."
            )
        if isinstance(part, ScopeEnd) and (
            not self._open_scopes or self._open_scopes[-1].name != part.name
        ):
            raise InvalidProgram(
                f"The scope {part.name!r} ends, but it is not the last that began."
            )

    def _note(self, part: Expression, place: Place) -> Variable | None:
        """Which message and which scopes are open behind it, and the variable that it makes."""
        match part:
            case Gen(name=str(name)) | Select(name=str(name)):
                variable = Variable(name)
            case ScopeBegin(name):
                variable = Variable(name)
                variable.is_open = True
                self._open_scopes.append(variable)
            case ScopeEnd():
                variable = self._open_scopes.pop()
                variable.is_open = False
            case RoleBegin(role):
                self._role, self._role_begun = role, place
                return None
            case RoleEnd():
                self._role = None
                return None
            case _:
                return None
        self.variables.add(variable)
        return variable

    def _wake(self) -> bool:
        """What is in the queue is done. False: the loop has ended, and it will not be."""
        if self.backend.loop.call_soon(self._worker.go_on):
            return True
        self.backend.loop.join()
        self._worker.end_with_loop()
        return False

"""Runs what a program appends, in order, on its backend's loop; the program itself does not wait.

A fork is an executor of its own, which begins with what its parent has when it comes to the fork.
After an error nothing more is run: every variable that is still to come has that error.
"""

import asyncio
import collections
import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from sgjax.errors import EngineDead, InvalidProgram, ProgramFailed, UnknownVariable
from sgjax.lang.backends.contract import Backend, Call
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
from sgjax.lang.media import read_media
from sgjax.lang.transcript import Transcript
from sgjax.lang.variable import Feed, Variable, known

Defaults = Mapping[str, Any]
"""Sampling parameters of a run, by SGLang's names."""


@dataclasses.dataclass(frozen=True)
class Fork(Expression):
    """Others go on from here."""

    children: tuple["Executor", ...]


@dataclasses.dataclass(frozen=True)
class JoinTexts(Expression):
    """What forks said, one after the other."""

    children: tuple["Executor", ...]


@dataclasses.dataclass(frozen=True)
class Mark(Expression):
    """Somebody waits until all before this is done."""

    done: "Future[None]"


@dataclasses.dataclass(frozen=True)
class _End(Expression):
    """Nothing more comes."""


_CAN_WAIT = (Text, RoleBegin, RoleEnd, ScopeBegin, ScopeEnd)
"""What may stay in the queue until something comes that takes a while, or is waited for."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Work:
    what: Expression
    variable: Variable | None
    where: str
    """The line of the program."""


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
        self.is_streamed = is_streamed
        self.variables: dict[str, Variable] = dict(parent.variables) if parent else {}
        self.feed = Feed()
        """All of its text."""
        self.error: ProgramFailed | None = None
        self._defaults = defaults
        self._loop = backend.loop.loop
        self._queue: collections.deque[_Work] = collections.deque()
        self._task: asyncio.Task[None] | None = None
        self._children: list[Executor] = []
        self._grown = threading.Condition()
        self._writer: threading.Thread | None = None
        self._is_given_up = False
        # A fork's comes when its parent comes to it.
        self._transcript = None if parent else Transcript(backend.chat_template)
        self._fork_at = 0
        self._scopes: list[tuple[Variable, int]] = []

    # For the program's thread.

    def written_by(self, thread: threading.Thread) -> None:
        """Says that the program runs in a thread of its own: until it ends, others wait for what it
        is yet to append."""
        self._writer = thread

    def submit(self, expression: Expression, where: str) -> None:
        """Puts an expression behind all others. Its variables are known from now on."""
        can_wait = not self.is_streamed
        for leaf in leaves(expression):
            variable = None
            if isinstance(leaf, Gen | Select | ScopeBegin) and leaf.name is not None:
                variable = self.make(Variable(leaf.name))
            can_wait = can_wait and isinstance(leaf, _CAN_WAIT)
            self._queue.append(_Work(leaf, variable, where))
        if not can_wait:
            self._wake()

    def fork(self, count: int, where: str) -> list["Executor"]:
        children = [
            Executor(self.backend, self._defaults, is_streamed=self.is_streamed, parent=self)
            for _ in range(count)
        ]
        self._children += children
        self.submit(Fork(tuple(children)), where)
        return children

    def set(self, name: str, value: Any) -> None:
        """Gives a variable a value of the program's own."""
        self.make(known(name, value))

    def variable(self, name: str) -> Variable:
        """Raises UnknownVariable where nothing makes it, and the program's error where that kept it
        from coming to it."""
        if self._queue:
            self._wake()
        self._wait_until(lambda: name in self.variables)
        if (found := self.variables.get(name)) is not None:
            return found
        if self._is_given_up:
            self.sync()
            assert self.error is not None
            raise self.error
        names = ", ".join(map(repr, self.variables)) or "none yet"
        raise UnknownVariable(
            f"No part of the program makes a variable {name!r}. There are: {names}."
        )

    def sync(self) -> None:
        """Waits until all that was submitted is done, or will not be."""
        self._wait_until(lambda: False)
        done: Future[None] = Future()
        self.submit(Mark(done), "")
        done.result()

    @property
    def transcript(self) -> Transcript:
        """After all that was submitted. Raises ProgramFailed where that failed."""
        self.sync()
        if self.error is not None:
            raise self.error
        assert self._transcript is not None
        return self._transcript

    @property
    def text_so_far(self) -> str:
        """What there is, after an error too."""
        return self._transcript.text if self._transcript else ""

    def end(self) -> None:
        """Nothing more comes: who reads its text comes to the end."""
        self.submit(_END, "")
        self._written()

    def abort(self, error: BaseException) -> None:
        """Gives up what is not done, and all forks."""
        self._is_given_up = True
        self._call_soon(self._abort, error)
        self._written()

    def make(self, variable: Variable) -> Variable:
        with self._grown:
            self.variables[variable.name] = variable
            self._grown.notify_all()
        return variable

    def _written(self) -> None:
        with self._grown:
            self._writer = None
            self._grown.notify_all()

    def _wait_until(self, is_there: Callable[[], bool]) -> None:
        """While another thread runs the program, and `is_there` says no."""
        me = threading.current_thread()
        with self._grown:
            self._grown.wait_for(lambda: self._writer in (None, me) or is_there())

    def _wake(self) -> None:
        """What is in the queue is run. To wake the loop takes longer than to append a text."""
        self._call_soon(self._go_on)

    def _call_soon(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            raise EngineDead("The backend was shut down. Make a new one.") from None

    # On the loop.

    def _go_on(self) -> None:
        if self.error is not None:
            self._drop()
        elif self._task is None and self._transcript is not None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        while self._queue:
            work = self._queue.popleft()
            try:
                await self._do(work)
            except asyncio.CancelledError:
                self._fail(ProgramFailed("The program was given up."), work)
            except Exception as error:  # whatever a backend raises is for whoever reads the value
                self._fail(_failed(error, work), work)
        self._task = None

    async def _do(self, work: _Work) -> None:
        transcript = self._transcript
        assert transcript is not None
        match work.what:
            case _End():
                self.feed.close()
            case Text(text):
                self._append(text)
            case Gen():
                await self._generate(work.what, work.variable)
            case Select():
                await self._select(work.what, work.variable)
            case RoleBegin(role):
                self._grow(lambda: transcript.begin_role(role))
            case RoleEnd(role):
                self._grow(lambda: transcript.end_role(role))
                self.backend.end_role(transcript)
            case Media():
                await self._attach(work.what)
            case ScopeBegin():
                assert work.variable is not None
                self._scopes.append((work.variable, transcript.length))
            case ScopeEnd(name):
                self._end_scope(name)
            case Fork(children):
                await self._fork(children)
            case JoinTexts(children):
                await self._join(children)
            case Mark(done):
                done.set_result(None)
            case other:
                raise InvalidProgram(f"{type(other).__name__} cannot be run.")

    async def _generate(self, gen: Gen, variable: Variable | None) -> None:
        transcript = self._transcript
        assert transcript is not None
        call = self._call(gen, is_in_role=transcript.role is not None)
        if not self.is_streamed:
            answer = await self.backend.generate(transcript, call)
            self._told(answer.text, variable)
        else:
            answer, seen = None, 0
            async for answer in self.backend.stream(transcript, call):
                if variable is not None:
                    variable.meta_info = answer.meta_info
                self._told(answer.text[seen:], variable)
                seen = len(answer.text)
            if answer is None:
                raise ProgramFailed("The backend's stream ended before it began.")
        transcript.append(answer.text, answer.ids)
        if variable is not None:
            variable.set(answer.text, answer.meta_info)

    def _call(self, gen: Gen, *, is_in_role: bool) -> Call:
        params, stops = gen.constrained()
        said = {name: value for name, value in params.items() if value is not None}
        merged = {**self._defaults, **said}
        more = (*stops, *(self.backend.chat_template.stop_str if is_in_role else ()))
        if more:
            own = merged.get("stop") or ()
            merged["stop"] = [*((own,) if isinstance(own, str) else own), *more]
        logprobs = {name: value for name, value in gen.logprobs.items() if value is not None}
        for name in LOGPROB_FIELDS:
            if (value := merged.pop(name, None)) is not None:
                logprobs.setdefault(name, value)
        return Call(merged, logprobs, gen.dtype)

    async def _select(self, select: Select, variable: Variable | None) -> None:
        transcript = self._transcript
        assert transcript is not None
        decision = await self.backend.select(
            transcript, select.choices, method=select.method, temperature=select.temperature
        )
        self._append(decision.decision)
        if variable is not None:
            variable.feed.put(decision.decision)
            variable.set(decision.decision, decision.meta_info)

    async def _attach(self, media: Media) -> None:
        reads = self.backend.reads
        if media.kind not in reads:
            what = ", ".join(sorted({"text", *reads}))
            raise InvalidProgram(
                f"The backend reads {what}, and no {media.kind}. Leave it out, or choose a backend "
                "with a model that reads it."
            )
        data = await asyncio.to_thread(read_media, media)
        transcript = self._transcript
        assert transcript is not None
        self._grow(lambda: transcript.attach(media.kind, data, media.num_frames))

    def _end_scope(self, name: str) -> None:
        if not self._scopes or self._scopes[-1][0].name != name:
            raise InvalidProgram(f"The scope {name!r} ends, but it is not the last that began.")
        variable, begin = self._scopes.pop()
        assert self._transcript is not None
        variable.set(self._transcript.text[begin:])

    async def _fork(self, children: Sequence["Executor"]) -> None:
        transcript = self._transcript
        assert transcript is not None
        if len(children) > 1:
            await self.backend.before_fork(transcript)
        for child in children:
            child._begin(transcript.copy())

    def _begin(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._fork_at = transcript.length
        self._go_on()

    async def _join(self, children: Sequence["Executor"]) -> None:
        for child in children:
            done: Future[None] = Future()
            child._queue.append(_Work(Mark(done), None, ""))
            child._go_on()
            await asyncio.wrap_future(done)
            if child.error is not None:
                raise child.error
            assert child._transcript is not None
            self._append(child._transcript.text[child._fork_at :])

    def _append(self, text: str) -> None:
        assert self._transcript is not None
        self._transcript.append(text)
        self.feed.put(text)

    def _grow(self, change: Callable[[], None]) -> None:
        """Changes the transcript, and tells the text that this adds."""
        transcript = self._transcript
        assert transcript is not None
        count = len(transcript.segments)
        change()
        self.feed.put("".join(segment.text for segment in transcript.segments[count:]))

    def _told(self, text: str, variable: Variable | None) -> None:
        self.feed.put(text)
        if variable is not None:
            variable.feed.put(text)

    def _abort(self, error: BaseException) -> None:
        if self.error is None:
            self.error = _failed(error, None)
        for child in self._children:
            child._abort(error)
        if self._task is not None:
            self._task.cancel()
        else:
            self._drop()

    def _fail(self, error: ProgramFailed, work: _Work) -> None:
        """`work` failed: so does all behind it."""
        if self.error is None:
            self.error = error
        self._queue.appendleft(work)
        self._drop()

    def _drop(self) -> None:
        """Fails what is queued; those who wait for its end do not wait any more."""
        assert self.error is not None
        while self._queue:
            work = self._queue.popleft()
            if work.variable is not None:
                work.variable.fail(self.error)
            match work.what:
                case Fork(children):
                    for child in children:
                        child._abort(self.error)
                case Mark(done):
                    done.set_result(None)
        for variable, _ in self._scopes:
            variable.fail(self.error)
        self._scopes.clear()
        self.feed.close(self.error)


LOGPROB_FIELDS = (
    "return_logprob",
    "logprob_start_len",
    "top_logprobs_num",
    "return_text_in_logprobs",
)
_END = _End()


def _failed(error: BaseException, work: _Work | None) -> ProgramFailed:
    if isinstance(error, ProgramFailed) and work is None:
        return error
    place = f", at {work.where}" if work is not None and work.where else ""
    what = _what(work.what) if work is not None else "The program"
    failed = ProgramFailed(f"{what} failed{place}: {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed


def _what(expression: Expression) -> str:
    name = getattr(expression, "name", None)
    kind = type(expression).__name__.lower()
    return f"{kind}({name!r})" if name else kind

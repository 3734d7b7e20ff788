"""Runs what a program appends, in order, on its backend's loop; the program itself does not wait.

A fork is an executor of its own, which begins with what its parent has when it comes to the fork.
After an error nothing more is run: every variable that is still to come has that error, and forks
are given up.
"""

import asyncio
import collections
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from sgjax.errors import EngineDead, InvalidProgram, ProgramFailed, UnknownVariable
from sgjax.lang.backends.contract import Answer, Backend, Call, TurnBackend
from sgjax.lang.calls import Defaults, call_of, check_whole
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
from sgjax.lang.place import NOWHERE, Place
from sgjax.lang.transcript import Transcript, role_behind
from sgjax.lang.variable import Feed, Variable
from sgjax.lang.variables import Variables
from sgjax.lang.work import End, Fork, Join, Mark, Said, Turn, Work, failure

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
        self.is_streamed = is_streamed
        self.variables = Variables(parent.variables.all() if parent else None)
        self.feed = Feed()
        """All of its text."""
        self.error: ProgramFailed | None = None
        self._defaults = defaults
        # Behind all that was submitted:
        self._role = parent._role if parent else None
        self._open_scopes: list[Variable] = []
        # Of an assistant's message that a TurnBackend is not yet asked for:
        self._holds_turns = isinstance(backend, TurnBackend)
        self._held: list[Work] = []
        # The program appends to it, the loop takes from it.
        self._queue: collections.deque[Work] = collections.deque()
        # The loop's:
        self._work: Work | None = None
        self._task: asyncio.Task[None] | None = None
        self._forks: list[Executor] = []
        # A fork's comes when its parent comes to it.
        self._transcript = None if parent else Transcript(backend.chat_template)
        self._fork_at = 0
        self._scopes: list[tuple[Variable, int]] = []

    # For the program's thread.

    def submit(self, expression: Expression, place: Place) -> None:
        """Puts an expression behind all others. Its variables are known from now on.

        Raises:
            InvalidProgram: it cannot stand here, and nothing of it was put there.
            EngineDead: the backend was shut down.
        """
        parts, roles = list(leaves(expression)), [self._role]
        for part in parts:
            roles.append(role_behind(part, roles[-1]))
            self._check(part)
        self._role = roles[-1]
        works = [Work(part, self._variable_of(part), place) for part in parts]
        is_urgent = self._put(works, roles)
        if (is_urgent or self.is_streamed) and not self._wake():
            raise _shut_down()

    def fork(self, count: int, place: Place) -> list["Executor"]:
        forks = [
            Executor(self.backend, self._defaults, is_streamed=self.is_streamed, parent=self)
            for _ in range(count)
        ]
        self.submit(Fork(tuple(forks)), place)
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
        self._release()
        done: Future[None] = Future()
        self._queue.append(Work(Mark(done), None, NOWHERE))
        self._wake()
        done.result()

    def text_up_to_now(self) -> Feed:
        """Grows until all that was submitted is done."""
        part, done = Feed(), Future[None]()

        def hear(piece: str | None) -> None:
            part.put(piece or "")

        def close(_: "Future[None]") -> None:
            self.feed.leave(hear)
            part.close(self.error)

        self._release()
        self.feed.listen(hear)
        done.add_done_callback(close)
        self._queue.append(Work(Mark(done), None, NOWHERE))
        self._wake()
        return part

    @property
    def transcript(self) -> Transcript:
        """After all that was submitted. Raises ProgramFailed where that failed."""
        self.sync()
        if self.error is not None:
            raise self.error.again()
        assert self._transcript is not None
        return self._transcript

    def end(self) -> None:
        """Nothing more comes: who reads its text comes to the end."""
        self._release()
        self._queue.append(Work(End(), None, NOWHERE))
        self._wake()

    def abort(self, error: BaseException) -> None:
        """Gives up what is not done, and all forks."""
        self._release()
        failed = failure(error, None)
        if not self.backend.loop.call_soon(self._abort, failed):
            self.backend.loop.join()
            self._abort(failed)

    def _put(self, works: Sequence[Work], roles: Sequence[str | None]) -> bool:
        """Into the queue. A TurnBackend's texts and gens in an assistant's message wait until
        something else comes. `roles`: whose message is open before each work. False: what is there
        can wait."""
        is_urgent = False
        for work, role in zip(works, roles, strict=False):
            if self._holds_turns and role == "assistant" and isinstance(work.what, _OF_TURNS):
                self._held.append(work)
            else:
                is_urgent |= self._release() or not isinstance(work.what, _CAN_WAIT)
                self._queue.append(work)
        return is_urgent

    def _release(self) -> bool:
        """What was held comes into the queue. False: nothing was."""
        if not self._held:
            return False
        self._queue.append(Work(Turn(tuple(self._held)), None, self._held[-1].place))
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

    def _variable_of(self, part: Expression) -> Variable | None:
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
            case _:
                return None
        self.variables.add(variable)
        return variable

    def _wake(self) -> bool:
        """What is in the queue is run. False: the loop has ended, and it will not be."""
        if self.backend.loop.call_soon(self._go_on):
            return True
        self.backend.loop.join()  # from here on nothing else touches what was the loop's
        if any(not isinstance(work.what, Mark | Said | End) for work in self._queue):
            self._fail(_shut_down())
        self._drop()
        return False

    # On the loop.

    def _go_on(self) -> None:
        if self.error is not None:
            self._drop()
        elif self._task is None and self._transcript is not None:
            self._task = self.backend.loop.loop.create_task(self._run())
            self._task.add_done_callback(self._after)

    async def _run(self) -> None:
        while self._queue and self.error is None:
            self._work = self._queue.popleft()
            try:
                await self._do(self._work)
            except Exception as error:  # whatever a backend raises is for whoever reads the value
                self._fail(error)
            self._work = None
        self._task = None

    def _after(self, task: "asyncio.Task[None]") -> None:
        """A task may be cancelled before it begins, too."""
        if task.cancelled():
            self._fail(_shut_down())

    async def _do(self, work: Work) -> None:
        transcript = self._transcript
        assert transcript is not None
        match work.what:
            case Text(text):
                self._append(text)
            case Gen():
                stops = self.backend.chat_template.stop_str if transcript.role is not None else ()
                await self._generate(call_of(work.what, self._defaults, stops), work.variable)
            case Turn(works):
                await self._say(works)
            case Select():
                await self._select(work.what, work.variable)
            case RoleBegin(role):
                self._grow(lambda: transcript.begin_role(role))
            case RoleEnd(role):
                self._grow(lambda: transcript.end_role(role))
                self.backend.end_role(transcript)
            case Media(kind, _, num_frames):
                data = await asyncio.to_thread(read_media, work.what)
                self._grow(lambda: transcript.attach(kind, data, num_frames))
            case ScopeBegin():
                assert work.variable is not None
                self._scopes.append((work.variable, transcript.length))
            case ScopeEnd():
                variable, begin = self._scopes.pop()
                variable.set(transcript.text[begin:])
            case Fork(forks):
                await self._fork(forks)
            case Join(texts):
                for text in texts:
                    self._append(await asyncio.wrap_future(text))
            case Said() | Mark() | End():
                self._tell(work.what)
            case other:
                raise InvalidProgram(f"{type(other).__name__} cannot be run.")

    async def _generate(self, call: Call, variable: Variable | None) -> None:
        transcript = self._transcript
        assert transcript is not None
        if not self.is_streamed:
            answer = await self.backend.generate(transcript, call)
            self._hear(answer.text, variable)
        else:
            answer = await self._stream(transcript, call, variable)
        self._keep(answer, variable)

    def _keep(self, answer: Answer, variable: Variable | None) -> None:
        assert self._transcript is not None
        check_whole(answer)
        self._transcript.append(answer.text, answer.ids)
        if variable is not None:
            variable.set(answer.text, answer.meta_info)

    async def _say(self, works: Sequence[Work]) -> None:
        """Asks a TurnBackend for what an assistant's message says."""
        transcript, backend = self._transcript, self.backend
        assert transcript is not None and isinstance(backend, TurnBackend)
        parts: list[str | Call] = []
        for work in works:
            match work.what:
                case Text(text):
                    parts.append(text)
                case Gen() as gen:
                    parts.append(call_of(gen, self._defaults, self.backend.chat_template.stop_str))
        answers = iter(await backend.turn(transcript, parts))
        for work in works:
            if isinstance(work.what, Gen):
                answer = next(answers)
                self._hear(answer.text, work.variable)
                self._keep(answer, work.variable)
            else:
                await self._do(work)

    async def _stream(
        self, transcript: Transcript, call: Call, variable: Variable | None
    ) -> Answer:
        answer, num_heard = None, 0
        async for answer in self.backend.stream(transcript, call):
            if variable is not None:
                variable.meta_info = answer.meta_info
            self._hear(answer.text[num_heard:], variable)
            num_heard = len(answer.text)
        if answer is None:
            raise ProgramFailed("The backend's stream ended before it began.")
        return answer

    async def _select(self, select: Select, variable: Variable | None) -> None:
        transcript = self._transcript
        assert transcript is not None
        decision = await self.backend.select(
            transcript, select.choices, method=select.method, temperature=select.temperature
        )
        transcript.append(decision.decision)
        self._hear(decision.decision, variable)
        if variable is not None:
            variable.set(decision.decision, decision.meta_info)

    async def _fork(self, forks: Sequence["Executor"]) -> None:
        transcript = self._transcript
        assert transcript is not None
        if len(forks) > 1:
            await self.backend.before_fork(transcript)
        self._forks += forks
        for fork in forks:
            fork._transcript = transcript.copy()
            fork._fork_at = transcript.length
            fork._go_on()

    def _append(self, text: str) -> None:
        assert self._transcript is not None
        self._transcript.append(text)
        self._hear(text)

    def _grow(self, change: Callable[[], None]) -> None:
        """Changes the transcript, and tells the text that this adds."""
        transcript = self._transcript
        assert transcript is not None
        count = len(transcript.segments)
        change()
        self._hear("".join(segment.text for segment in transcript.segments[count:]))

    def _hear(self, text: str, variable: Variable | None = None) -> None:
        """Tells new text to all who listen to it."""
        self.feed.put(text)
        for scope, _ in self._scopes:
            scope.feed.put(text)
        if variable is not None:
            variable.feed.put(text)

    def _abort(self, error: ProgramFailed) -> None:
        if self._task is not None:
            self._task.cancel()
        if self.error is None:
            self.error = error.again()
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """What is under way failed: so does all behind it."""
        if self.error is None:
            self.error = failure(error, self._work)
        for fork in self._forks:
            fork._abort(self.error)
        self._forks.clear()
        self._drop()

    def _drop(self) -> None:
        """Fails what is queued; those who wait for its end do not wait any more."""
        works = [self._work] if self._work is not None else []
        while self._queue:
            works.append(self._queue.popleft())
        for work in works:
            if self.error is not None:
                self._give_up(work, self.error)
            self._tell(work.what)
        if self.error is not None:
            for variable, _ in self._scopes:
                variable.fail(self.error)
            self._scopes.clear()
            self.feed.close(self.error)

    def _give_up(self, work: Work, error: ProgramFailed) -> None:
        if work.variable is not None:
            work.variable.fail(error)
        match work.what:
            case Fork(forks):
                for fork in forks:
                    fork._abort(error)
            case Turn(works):
                for part in works:
                    self._give_up(part, error)

    def _tell(self, what: Expression) -> None:
        """Tells those who wait for this place of the queue that it is reached. Who was cancelled
        does not wait."""
        match what:
            case End():
                self.feed.close(self.error)
            case Mark(done) if done.set_running_or_notify_cancel():
                done.set_result(None)
            case Said(text) if text.set_running_or_notify_cancel():
                if self.error is not None:
                    text.set_exception(self.error.again())
                else:
                    assert self._transcript is not None
                    text.set_result(self._transcript.text[self._fork_at :])


def _shut_down() -> EngineDead:
    return EngineDead("The backend was shut down. Make a new one.")

"""The loop's side of a program: does what is queued, in order.

After an error nothing more is done: every variable that is still to come has that error, and forks
are given up.
"""

import asyncio
import collections
from collections.abc import Callable, Sequence

from sgjax.errors import EngineDead, InvalidProgram, ProgramFailed
from sgjax.lang.backends.contract import Answer, Backend, Call, takes_turns
from sgjax.lang.calls import Defaults, call_of, check_ended, check_whole
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
)
from sgjax.lang.media import read_media
from sgjax.lang.transcript import Transcript
from sgjax.lang.variable import Feed, Variable
from sgjax.lang.work import Fork, Join, Mark, Said, Turn, Work, failure

_AT_ONCE = (Text, Mark, Said)
"""What neither takes a while nor fails."""


class Worker:
    """One program's, or one fork's. Only the loop calls it, once `queue` has work."""

    def __init__(
        self,
        backend: Backend,
        defaults: Defaults,
        transcript: Transcript | None,
        *,
        is_streamed: bool,
    ):
        """`transcript`: a fork's comes when its parent comes to it."""
        self.backend = backend
        self.defaults = defaults
        self.is_streamed = is_streamed
        self.transcript = transcript
        self.queue: collections.deque[Work] = collections.deque()
        """The program appends to it, the loop takes from it."""
        self.feed = Feed()
        """All text."""
        self.error: ProgramFailed | None = None
        self._work: Work | None = None
        self._task: asyncio.Task[None] | None = None
        self._forks: list[Worker] = []
        self._fork_at = 0
        self._scopes: list[tuple[Variable, int]] = []

    def go_on(self) -> None:
        if self.error is not None:
            self._drop()
        elif self._task is None and self.transcript is not None and self._do_at_once():
            self._task = self.backend.loop.loop.create_task(self._run())
            self._task.add_done_callback(self._after)

    def end_with_loop(self) -> None:
        """Fails what is queued of a loop that has ended, so that nothing else touches this."""
        if any(not isinstance(work.what, Mark | Said) for work in self.queue):
            self._fail(shut_down())
        self._drop()

    async def _run(self) -> None:
        while self.error is None and self._do_at_once():
            self._work = self.queue.popleft()
            try:
                await self._do(self._work)
            except Exception as error:  # whatever a backend raises is for whoever reads the value
                self._fail(error)
            self._work = None
        self._task = None

    def _after(self, task: "asyncio.Task[None]") -> None:
        """A task may be cancelled before it begins, too."""
        if task.cancelled():
            self._fail(shut_down())

    async def _do(self, work: Work) -> None:
        transcript = self.transcript
        assert transcript is not None
        match work.what:
            case Text(text):
                self._append(text)
            case Gen():
                stops = self.backend.chat_template.stop_str if transcript.role is not None else ()
                await self._generate(call_of(work.what, self.defaults, stops), work.variable)
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
            case other:
                raise InvalidProgram(f"{type(other).__name__} cannot be run.")

    async def _generate(self, call: Call, variable: Variable | None) -> None:
        transcript = self.transcript
        assert transcript is not None
        if not self.is_streamed:
            answer = await self.backend.generate(transcript, call)
            self._hear(answer.text, variable)
        else:
            answer = await self._stream(transcript, call, variable)
        self._keep(answer, variable)

    def _keep(self, answer: Answer, variable: Variable | None) -> None:
        assert self.transcript is not None
        check_whole(answer)
        self.transcript.append(answer.text, answer.ids)
        if variable is not None:
            variable.set(answer.text, answer.meta_info)

    async def _say(self, works: Sequence[Work]) -> None:
        """Asks a TurnBackend for what an assistant's message says."""
        transcript, backend = self.transcript, self.backend
        assert transcript is not None and takes_turns(backend)
        parts: list[str | Call] = []
        for work in works:
            match work.what:
                case Text(text):
                    parts.append(text)
                case Gen() as gen:
                    parts.append(call_of(gen, self.defaults, self.backend.chat_template.stop_str))
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
        check_ended(answer)
        return answer

    async def _select(self, select: Select, variable: Variable | None) -> None:
        transcript = self.transcript
        assert transcript is not None
        decision = await self.backend.select(
            transcript, select.choices, method=select.method, temperature=select.temperature
        )
        transcript.append(decision.decision)
        self._hear(decision.decision, variable)
        if variable is not None:
            variable.set(decision.decision, decision.meta_info)

    async def _fork(self, forks: Sequence["Worker"]) -> None:
        transcript = self.transcript
        assert transcript is not None
        if len(forks) > 1:
            await self.backend.before_fork(transcript)
        self._forks += forks
        for fork in forks:
            fork.transcript = transcript.copy()
            fork._fork_at = transcript.length
            fork.go_on()

    def _do_at_once(self) -> bool:
        """What needs no task, which costs more than all of it. Texts behind one another are one.
        True: something else comes next."""
        texts: list[str] = []
        while self.queue and isinstance(what := self.queue[0].what, _AT_ONCE):
            self.queue.popleft()
            if isinstance(what, Text):
                texts.append(what.text)
            else:
                self._append("".join(texts))
                texts.clear()
                self._tell(what)
        self._append("".join(texts))
        return bool(self.queue)

    def _append(self, text: str) -> None:
        assert self.transcript is not None
        if text:
            self.transcript.append(text)
            self._hear(text)

    def _grow(self, change: Callable[[], None]) -> None:
        """Changes the transcript, and tells the text that this adds."""
        transcript = self.transcript
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

    def abort(self, error: ProgramFailed) -> None:
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
            fork.abort(self.error)
        self._forks.clear()
        self._drop()

    def _drop(self) -> None:
        """Fails what is queued; those who wait for its end do not wait any more."""
        works = [self._work] if self._work is not None else []
        while self.queue:
            works.append(self.queue.popleft())
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
                    fork.abort(error)
            case Turn(works):
                for part in works:
                    self._give_up(part, error)

    def _tell(self, what: Expression) -> None:
        """Tells those who wait for this place of the queue that it is reached. Who was cancelled
        does not wait."""
        match what:
            case Mark(reached):
                reached.close(self.error)
            case Said(text) if text.set_running_or_notify_cancel():
                if self.error is not None:
                    text.set_exception(self.error.again())
                else:
                    assert self.transcript is not None
                    text.set_result(self.transcript.text[self._fork_at :])


def shut_down() -> EngineDead:
    return EngineDead("The backend was shut down. Make a new one.")

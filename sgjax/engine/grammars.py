"""The grammars of requests: compiled before they wait in line, and masks for tokens still to be
drawn.

A step leaves the logits of requests with grammars undrawn. While the next tokens of all others are
on their way, the host reads what was drawn before, moves the grammars on, and fills masks; then a
second small program draws from those logits:

    forward n | sample n | draw n-1 ... forward n+1 | sample n+1 | draw n ...
                 host: read n, fill masks  ^ while this runs

A mask that is late when the device is done with its step delays its own request alone: the others
go on, and it is drawn later, from the logits that were kept.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np

from sgjax.constrained.compiler import GrammarCompiler
from sgjax.constrained.masks import Mask, MaskFiller
from sgjax.constrained.matcher import Matcher
from sgjax.engine.batch import Batch, StepResults
from sgjax.engine.request import Request
from sgjax.engine.runner import LaunchedDraw, LaunchedStep, ModelRunner
from sgjax.engine.scheduler import Draw, Scheduler
from sgjax.errors import InvalidRequest

_LOOK_UP_S = 0.0005
"""How often it is looked whether the device is done."""
_IDLE_S = 0.1


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A command of the engine to itself: the grammar of a request is there, or cannot be."""

    request: Request
    matcher: Future[Matcher]


class Grammars:
    """What the loop does for requests with grammars.

    Args:
        read_tokenizer: gives the text of a tokenizer.json.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        read_tokenizer: Callable[[], str],
        *,
        vocab_size: int,
        eos_ids: list[int],
    ):
        self._runner = runner
        self._scheduler = scheduler
        self._compiler = GrammarCompiler(read_tokenizer, vocab_size, eos_ids)
        self._filler = MaskFiller(vocab_size, num_threads=_num_threads())
        self._compiling: dict[str, Request] = {}
        self._undrawn: dict[Request, None] = {}
        self._draws: list[tuple[Draw, LaunchedDraw]] = []

    # Before a request waits in line.

    def prepare(self) -> None:
        """Begins what would hold up the first grammar."""
        self._compiler.prepare()

    def compile(
        self,
        request: Request,
        grammar: str,
        after: list[int],
        on_done: Callable[[Compiled], None],
    ) -> None:
        """Compiles the grammar of a request in a thread, which then calls `on_done`.

        Raises:
            InvalidRequest: there is a request of that name.
        """
        if request.rid in self._compiling:
            raise InvalidRequest(
                f"A request with the id {request.rid!r} runs already.", param="rid"
            )
        self._compiling[request.rid] = request
        future = self._compiler.compile(grammar, after)
        future.add_done_callback(lambda future: on_done(Compiled(request, future)))

    def take(self, compiled: Compiled) -> Request | None:
        """The request with its grammar; None if it was aborted meanwhile.

        Raises:
            InvalidRequest: the grammar cannot be used.
        """
        if self._compiling.get(compiled.request.rid) is not compiled.request:
            return None
        del self._compiling[compiled.request.rid]
        compiled.request.grammar = compiled.matcher.result()
        return compiled.request

    def abort(self, rid: str | None) -> list[Request]:
        """Gives up a request (None: all) whose grammar is not there yet."""
        rids = [*self._compiling] if rid is None else [rid]
        return [self._compiling.pop(each) for each in rids if each in self._compiling]

    # While it runs.

    @property
    def waits(self) -> bool:
        """Whether there is something to draw, or to read."""
        return bool(self._undrawn or self._draws)

    def note(self, batch: Batch) -> None:
        """Takes in what a step that was launched leaves undrawn."""
        self._undrawn |= dict.fromkeys(each for each in batch.requests if each.is_undrawn)

    def read(self) -> Iterator[tuple[Draw, StepResults]]:
        """The draws that were launched, each with its results, which are waited for."""
        draws, self._draws = self._draws, []
        for draw, launched in draws:
            yield draw, launched.read()

    def draw(self, step: LaunchedStep | None) -> list[tuple[Request, str]]:
        """Draws what can be drawn, waiting for masks while the device computes `step` (the last
        one; None: there is nothing else to do than to wait for the first of them).

        Returns the requests that cannot go on, and why.
        """
        self._forget()
        asked = self._filler.ask([request.grammar for request in self._undrawn])
        masks = dict(zip(self._undrawn, asked, strict=True))
        self._wait(list(masks.values()), step)
        done = {request: mask for request, mask in masks.items() if mask.is_done}
        failed = [(request, str(mask.fault)) for request, mask in done.items() if mask.fault]
        self._launch({request: mask.bits for request, mask in done.items() if not mask.fault})
        for request, _ in failed:
            self._undrawn.pop(request)
        return failed

    def reset(self) -> list[Request]:
        """The device's state is lost: nothing is left to be drawn or read. Whose it was."""
        requests = [*self._undrawn, *(each for draw, _ in self._draws for each in draw.requests)]
        self._undrawn.clear()
        self._draws.clear()
        return requests

    def close(self) -> None:
        self._compiler.close()
        self._filler.close()

    def _forget(self) -> None:
        """Drops those that have ended, gave way, or know their token already."""
        self._undrawn = dict.fromkeys(each for each in self._undrawn if each.is_undrawn)

    def _wait(self, masks: list[Mask], step: LaunchedStep | None) -> None:
        while num_left := sum(not mask.is_done for mask in masks):
            if step is None and num_left < len(masks):
                return
            if step is not None and step.is_computed:
                return
            self._filler.wait(_IDLE_S if step is None else _LOOK_UP_S)

    def _launch(self, masks: dict[Request, np.ndarray]) -> None:
        if not masks:
            return
        launched = self._runner.draw(list(masks), list(masks.values()))
        self._draws.append((self._scheduler.begin_draw(list(masks)), launched))
        for request in masks:
            del self._undrawn[request]


def _num_threads() -> int:
    return max(1, min(16, (os.cpu_count() or 1) - 1))

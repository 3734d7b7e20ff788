"""The engine's loop: plan a step, launch it, then read the step before it.

    plan n   launch n   read n-1   plan n+1   launch n+1   read n   ...
             [ device: step n - - - - - - - ] [ device: step n+1 - - -

It speaks token ids only, with whoever holds the other end of its inbox.
"""

import dataclasses
import logging
import queue
import random
from array import array
from collections.abc import Callable
from typing import Any

import msgspec

from sgjax import errors
from sgjax.config import ServeConfig
from sgjax.engine.batch import Batch
from sgjax.engine.grammars import Compiled
from sgjax.engine.messages import (
    Abort,
    Call,
    Command,
    EngineStats,
    Event,
    Failed,
    Progress,
    Ready,
    Refused,
    Reply,
    Serving,
    Shutdown,
    Submit,
)
from sgjax.engine.outbox import Outbox
from sgjax.engine.programs import CompileCounter, Key, Stopwatch
from sgjax.engine.quarantine import Quarantine
from sgjax.engine.request import FinishReason, Request
from sgjax.engine.results import Drawn
from sgjax.engine.runner import LaunchedStep
from sgjax.engine.setup import Setup, prepare
from sgjax.engine.step_programs import describe
from sgjax.engine.watchdog import Watchdog
from sgjax.sampling_params import MAX_NEW_TOKENS

logger = logging.getLogger("sgjax.engine")

Send = Callable[[list[Event]], None]
Inbox = queue.SimpleQueue[Any]
"""Of commands; and of what its own threads tell it, Compiled."""

_LOOK_UP_S = 0.1


def run_engine(
    config: ServeConfig,
    inbox: Inbox,
    send: Send,
    *,
    wait: bool = True,
) -> None:
    """Starts an engine in this thread and runs it until a Shutdown comes.

    Without `wait` it returns though programs are being compiled: for a process that ends then.
    """
    watchdog = Watchdog(config.watchdog_timeout_s, lambda text: send([Failed(text)]))
    try:
        setup = prepare(config, lambda progress: send([progress]))
        Engine(config, setup, inbox, send, watchdog).run(wait=wait)
    except errors.ConfigError as error:
        send([Failed(str(error), config=True)])
    except Exception as error:  # the loop's edge: whatever it is, the front must hear of it
        logger.exception("The engine ended.")
        send([Failed(f"The engine ended: {type(error).__name__}: {error}")])
    finally:
        watchdog.close()


class Engine:
    """Requests, the scheduler that plans them, and the runner that computes them."""

    def __init__(
        self,
        config: ServeConfig,
        setup: Setup,
        inbox: Inbox,
        send: Send,
        watchdog: Watchdog,
    ):
        self._info = setup.info
        self._runner = setup.runner
        self._scheduler = setup.scheduler
        self._grammars = setup.grammars
        self._pace = setup.pace
        self._inbox = inbox
        self._send = send
        self._watchdog = watchdog
        self._overlap = not config.disable_overlap_schedule
        self._random = random.Random(config.random_seed)
        self._quarantine = Quarantine()
        self._outbox = Outbox()
        self._counters = _Counters()
        self._pending: LaunchedStep | None = None
        self._compiles: CompileCounter | None = None
        self._clock = Stopwatch()
        self._last_read = Stopwatch()
        self._is_checked = True
        self._stopping = False
        self._ready = False

    def run(self, *, wait: bool) -> None:
        """Compiles, serves, and returns when it is told to stop. `wait`: see `close`."""
        try:
            self.start()
            while not self._stopping:
                self.turn()
        finally:
            self.close(wait=wait)

    def start(self) -> None:
        """Loads the weights, compiles what serving needs meanwhile, and says that it serves."""
        programs = self._runner.programs
        begun = programs.begin(self._runner.serving_keys)
        self._runner.load()
        with self._watchdog.phase("compile"):
            programs.finish(begun, self._on_compiled)
        self._compiles = CompileCounter()
        self._send([Serving(self._info)])

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute, and nothing to read."""
        return self._pending is None and not self._scheduler.has_work

    def turn(self) -> None:
        """One round of the loop. With nothing to compute it runs a step that has never run, or else
        waits for a command."""
        self._take_commands(wait=self.is_idle and not self._warm_up())
        self._pending = self._step(self._pending)
        self._check_ready()

    def close(self, *, wait: bool = True) -> None:
        """Ends all requests and stops compiling; `wait`: until no thread is left that does."""
        self._abort(None, "the engine was shut down")
        if self._grammars is not None:
            self._grammars.close()
        if self._compiles is not None:
            self._compiles.close()
        self._runner.close(wait=wait)

    def _check_pages(self) -> None:
        """When nothing came for a while: pages that do not add up are said, counted and mended."""
        self._is_checked = True
        if self._scheduler.heal():
            logger.error("Pages of the cache were lost, or had two owners; it was emptied.")

    def _on_compiled(self, done: int, total: int, key: Key) -> None:
        self._send([Progress("compile", done, total, describe(key))])

    def _warm_up(self) -> bool:
        with self._watchdog.phase("step"):
            return self._runner.warm_up()

    def _check_ready(self) -> None:
        if self._ready:
            return
        programs = self._runner.programs
        if failure := programs.failure():
            raise failure
        if programs.is_complete and (self._runner.is_warm or not self.is_idle):
            self._ready = True
            self._scheduler.pace = self._pace
            if self._grammars is not None:
                self._grammars.prepare()
            if self._compiles is not None:
                self._compiles.count = 0
            self._send([Ready(self._clock.seconds)])

    # Commands

    def _take_commands(self, *, wait: bool) -> None:
        """Takes all commands there are; with nothing to compute it waits for one."""
        while (command := self._next_command(wait=wait)) is not None:
            self._obey(command)
            wait = False

    def _next_command(self, *, wait: bool) -> Command | Compiled | None:
        # Looks up now and then, to say when all programs are compiled, and to check the pages.
        is_calm = self._ready and self._is_checked
        try:
            return self._inbox.get(wait, None if is_calm else _LOOK_UP_S)
        except queue.Empty:
            if wait and not self._is_checked:
                self._check_pages()
            return None

    def _obey(self, command: Command | Compiled) -> None:
        match command:
            case Submit():
                self._add(command)
            case Abort():
                self._abort(command.rid, command.reason)
            case Compiled():
                self._take_compiled(command)
            case Call():
                self._send([self._answer(command)])
            case Shutdown():
                self._stopping = True

    def _add(self, submit: Submit) -> None:
        try:
            request = self._request(submit)
            if submit.grammar is None:
                self._scheduler.add(request)
            else:
                self._compile(request, submit.grammar, submit.grammar_after)
        except errors.RequestError as error:
            self._refuse(submit.rid, error)

    def _compile(self, request: Request, grammar: str, after: list[int]) -> None:
        if self._grammars is None:
            raise errors.InvalidRequest(
                "This engine takes no grammars: it was started without a tokenizer, or with "
                "--grammar-backend none."
            )
        self._scheduler.check(request)
        self._grammars.compile(request, grammar, after, self._inbox.put)

    def _take_compiled(self, compiled: Compiled) -> None:
        assert self._grammars is not None
        try:
            request = self._grammars.take(compiled)
            output = self._scheduler.add(request) if request is not None else None
        except errors.RequestError as error:
            self._refuse(compiled.request.rid, error)
            return
        if output is not None:
            self._send(self._outbox.news(Drawn([], []), [output]))

    def _refuse(self, rid: str, error: errors.RequestError) -> None:
        self._send([Refused(rid, type(error).__name__, error.message, error.param)])

    def _abort(self, rid: str | None, reason: str) -> None:
        waiting = [] if self._grammars is None else self._grammars.abort(rid)
        for request in waiting:
            request.finish_reason = FinishReason("abort", message=reason)
        self._end([*waiting, *self._scheduler.abort(rid, reason)])

    def _request(self, submit: Submit) -> Request:
        is_pooled = self._info.task != "generate"
        room = self._info.context_length - len(submit.prompt_ids)
        if room < (0 if is_pooled else 1):
            limit = self._info.context_length - (0 if is_pooled else 1)
            raise errors.ContextTooLong(len(submit.prompt_ids), limit)
        params = submit.params
        wanted = MAX_NEW_TOKENS if params.max_new_tokens is None else params.max_new_tokens
        seed = self._random.getrandbits(32) if params.seed is None else params.seed
        stops = () if params.ignore_eos else (*self._info.eos_ids, *params.stop_token_ids)
        return Request(
            rid=submit.rid,
            tokens=array("i", submit.prompt_ids),
            params=params,
            stop_ids=frozenset(stops),
            max_new_tokens=0 if is_pooled else min(wanted, room),
            is_pooled=is_pooled,
            seed=(seed ^ seed >> 32) & 0xFFFFFFFF,
            cache_salt=submit.cache_salt,
            return_logprob=submit.return_logprob,
            logprob_start=submit.logprob_start,
            top_logprobs=submit.top_logprobs,
            is_streamed=submit.is_streamed,
        )

    def _answer(self, call: Call) -> Reply:
        match call.name:
            case "flush_cache":
                return Reply(call.id, self._scheduler.flush_cache())
            case "stats":
                return Reply(call.id, msgspec.structs.asdict(self._snapshot()))
        return Reply(call.id, error=f"The engine has no call {call.name!r}.")

    # Steps

    def _step(self, pending: LaunchedStep | None) -> LaunchedStep | None:
        """Plans and launches a step, then reads `pending`, the one before it."""
        batch = launched = None
        try:
            with self._watchdog.phase("step"):
                clock = Stopwatch()
                self._quarantine.advance()
                self._scheduler.only = self._quarantine.on_trial
                batch = self._scheduler.schedule()
                if batch is not None:
                    self._is_checked = False
                    launched = self._launch(batch)
                    self._counters.plan_seconds += clock.seconds
                if launched is not None and not self._overlap:
                    self._read(launched)
                    launched = None
                if pending is not None:
                    self._read(pending)
                    pending = None
                self._draw(launched)
        except Exception as error:  # the loop's edge: one request is to blame, the engine goes on
            logger.exception("A step failed.")
            steps = [step.batch for step in (pending, launched) if step] + [batch]
            self._recover([step for step in steps if step], error)
            return None
        return launched

    def _launch(self, batch: Batch) -> LaunchedStep:
        launched = self._runner.launch(batch)
        if launched.has_undrawn and self._grammars is not None:
            self._grammars.note(batch)
        return launched

    def _read(self, step: LaunchedStep) -> None:
        running = [request for request in step.batch.requests if request.finish_reason is None]
        try:
            drawn, outputs = self._scheduler.update(step.batch, step.read())
        except Exception as error:
            self._end_lost(running, error)
            raise
        self._quarantine.clear(step.batch.requests)
        self._counters.steps += 1
        self._counters.step_seconds += min(step.clock.seconds, self._last_read.seconds)
        self._last_read = Stopwatch()
        events = self._outbox.news(drawn, outputs)
        if events:
            self._send(events)

    def _draw(self, step: LaunchedStep | None) -> None:
        """Reads the tokens of requests with grammars that were drawn before, and draws the next."""
        grammars = self._grammars
        if grammars is None or not grammars.waits:
            return
        for draw, results in grammars.read():
            drawn, outputs = self._scheduler.update_drawn(draw, results)
            if events := self._outbox.news(drawn, outputs):
                self._send(events)
        for request, fault in grammars.draw(step):
            self._end(self._scheduler.fail_grammar(request, fault))

    def _end(self, requests: list[Request]) -> None:
        if requests:
            self._send([self._outbox.last(request) for request in requests])

    def _end_lost(self, requests: list[Request], error: Exception) -> None:
        """Fails those that ended in a step whose results could not be booked to the end: nobody was
        told, and they cannot go on."""
        lost = [request for request in requests if request.finish_reason is not None]
        for request in lost:
            request.finish_reason = FinishReason("abort", message=_blame(error), failed=True)
        self._end(lost)

    def _recover(self, batches: list[Batch], error: Exception) -> None:
        """After a failed step: the device's state is made anew, whoever is to blame fails, all the
        others are computed again."""
        suspects = dict.fromkeys(request for batch in batches for request in batch.requests)
        if self._grammars is not None:
            suspects |= dict.fromkeys(self._grammars.reset())
        guilty = self._quarantine.accuse(suspects)
        self._runner.reset()
        self._scheduler.reset_cache()
        if guilty is not None:
            self._end(self._scheduler.fail([guilty], _blame(error)))
        elif not suspects:
            raise error  # no request is to blame: planning itself failed

    def _snapshot(self) -> EngineStats:
        programs = self._runner.programs
        return EngineStats(
            **self._scheduler.snapshot(),
            **dataclasses.asdict(self._counters),
            compiles=programs.num_compiled,
            compiles_after_ready=self._compiles.count if self._compiles and self._ready else 0,
            ready=self._ready,
        )


@dataclasses.dataclass
class _Counters:
    steps: int = 0
    step_seconds: float = 0.0
    plan_seconds: float = 0.0


def _blame(error: Exception) -> str:
    return f"The engine failed on this request: {type(error).__name__}: {error}"

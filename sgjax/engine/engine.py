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

import msgspec

from sgjax import errors
from sgjax.config import ServeConfig
from sgjax.engine.batch import Batch
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
from sgjax.engine.runner import LaunchedStep
from sgjax.engine.setup import Setup, prepare
from sgjax.engine.step_programs import describe
from sgjax.engine.watchdog import Watchdog
from sgjax.sampling_params import MAX_NEW_TOKENS

logger = logging.getLogger("sgjax.engine")

Send = Callable[[list[Event]], None]

_LOOK_UP_S = 0.1


def run_engine(
    config: ServeConfig, inbox: "queue.SimpleQueue[Command]", send: Send, *, wait: bool = True
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
        inbox: "queue.SimpleQueue[Command]",
        send: Send,
        watchdog: Watchdog,
    ):
        self._info = setup.info
        self._runner = setup.runner
        self._scheduler = setup.scheduler
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
        """Compiles what serving needs, and says that it serves."""
        programs = self._runner.programs
        with self._watchdog.phase("compile"):
            programs.compile_all(self._runner.serving_keys, self._on_compiled)
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
        self._end(self._scheduler.abort(None, "the engine was shut down"))
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
            if self._compiles is not None:
                self._compiles.count = 0
            self._send([Ready(self._clock.seconds)])

    # Commands

    def _take_commands(self, *, wait: bool) -> None:
        """Takes all commands there are; with nothing to compute it waits for one."""
        while (command := self._next_command(wait=wait)) is not None:
            self._obey(command)
            wait = False

    def _next_command(self, *, wait: bool) -> Command | None:
        # Looks up now and then, to say when all programs are compiled, and to check the pages.
        is_calm = self._ready and self._is_checked
        try:
            return self._inbox.get(wait, None if is_calm else _LOOK_UP_S)
        except queue.Empty:
            if wait and not self._is_checked:
                self._check_pages()
            return None

    def _obey(self, command: Command) -> None:
        match command:
            case Submit():
                self._add(command)
            case Abort():
                self._end(self._scheduler.abort(command.rid, command.reason))
            case Call():
                self._send([self._answer(command)])
            case Shutdown():
                self._stopping = True

    def _add(self, submit: Submit) -> None:
        try:
            self._scheduler.add(self._request(submit))
        except errors.RequestError as error:
            self._send([Refused(submit.rid, type(error).__name__, error.message, error.param)])

    def _request(self, submit: Submit) -> Request:
        room = self._info.context_length - len(submit.prompt_ids)
        if room <= 0:
            raise errors.ContextTooLong(len(submit.prompt_ids), self._info.context_length - 1)
        params = submit.params
        wanted = MAX_NEW_TOKENS if params.max_new_tokens is None else params.max_new_tokens
        seed = self._random.getrandbits(32) if params.seed is None else params.seed
        stops = () if params.ignore_eos else (*self._info.eos_ids, *params.stop_token_ids)
        return Request(
            rid=submit.rid,
            tokens=array("i", submit.prompt_ids),
            params=params,
            stop_ids=frozenset(stops),
            max_new_tokens=min(wanted, room),
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
                    launched = self._runner.launch(batch)
                    self._counters.plan_seconds += clock.seconds
                if launched is not None and not self._overlap:
                    self._read(launched)
                    launched = None
                if pending is not None:
                    self._read(pending)
                    pending = None
        except Exception as error:  # the loop's edge: one request is to blame, the engine goes on
            logger.exception("A step failed.")
            steps = [step.batch for step in (pending, launched) if step] + [batch]
            self._recover([step for step in steps if step], error)
            return None
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
        guilty = self._quarantine.accuse(
            dict.fromkeys(request for batch in batches for request in batch.requests)
        )
        self._runner.reset()
        self._scheduler.reset_cache()
        if guilty is not None:
            self._end(self._scheduler.fail([guilty], _blame(error)))
        elif not batches:
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

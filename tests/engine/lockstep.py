"""An engine without a thread: tests turn its loop, so the same events give the same steps."""

import queue
from array import array
from collections import defaultdict

from sgjax.config import ServeConfig
from sgjax.engine.deltas import merge
from sgjax.engine.engine import Engine
from sgjax.engine.messages import Abort, Call, Delta, Logprobs, Refused, Reply, Submit, Tokens
from sgjax.engine.setup import prepare
from sgjax.engine.watchdog import Watchdog
from sgjax.sampling_params import SamplingParams


class Lockstep:
    """One engine for many tests: `turn` is one round of its loop. Call `close` at the end."""

    def __init__(self, **options):
        self.inbox = queue.SimpleQueue()
        self.deltas: dict[str, Delta] = {}
        self.counts: dict[str, int] = defaultdict(int)
        self.refusals: dict[str, Refused] = {}
        self.replies: list[Reply] = []
        self.events = []
        self._watchdog = Watchdog(600, self.events.append)
        config = ServeConfig(**options)
        self.setup = prepare(config, self.events.append)
        self.engine = Engine(config, self.setup, self.inbox, self._take, self._watchdog)
        self.scheduler = self.setup.scheduler
        self.running: set[str] = set()
        self.info = self.setup.info
        self.engine.start()

    def _take(self, events):
        for event in events:
            match event:
                case Tokens(rids=rids, token_ids=token_ids):
                    for rid, token in zip(rids, token_ids, strict=True):
                        self._add(Delta(rid, [token]))
                case Delta():
                    self._add(event)
                case Refused(rid=rid):
                    self.refusals[rid] = event
                    self.running.discard(rid)
                case Reply():
                    self.replies.append(event)
                case _:
                    self.events.append(event)

    def _add(self, delta):
        rid = delta.rid
        old = self.deltas.get(rid)
        assert old is None or old.finish is None, "news of a request that has ended"
        self.deltas[rid] = delta if old is None else merge(old, delta)
        self.counts[rid] += 1
        if delta.finish is not None:
            self.running.discard(rid)

    def submit(
        self,
        rid,
        prompt,
        *,
        logprob_start=None,
        top=0,
        salt="",
        logprobs=True,
        grammar=None,
        after=(),
        **params,
    ):
        params = {"temperature": 0.0, "max_new_tokens": 8, **params}
        self.running.add(rid)
        self.inbox.put(
            Submit(
                rid=rid,
                prompt_ids=array("i", prompt),
                params=SamplingParams(**params),
                return_logprob=logprobs,
                logprob_start=logprob_start,
                top_logprobs=top,
                cache_salt=salt,
                grammar=grammar,
                grammar_after=list(after),
            )
        )

    def abort(self, rid):
        self.inbox.put(Abort(rid))

    def call(self, name):
        self.inbox.put(Call(len(self.replies), name))
        if self.is_idle:
            self.engine.turn()
        else:
            self.turn()
        return self.replies[-1].value

    @property
    def is_idle(self):
        return self.engine.is_idle and self.inbox.empty()

    def turn(self, times=1):
        """Turns the loop, not waiting for commands, and checks that every page has one owner."""
        for _ in range(times):
            if self.is_idle:
                return
            self.engine.turn()
            self.scheduler.check_invariants()

    def finish(self, limit=2000):
        """Turns until nothing is left to do."""
        for _ in range(limit):
            if self.is_idle and self.running:
                self.engine.turn()  # waits for a grammar
            elif self.is_idle:
                return
            self.turn()
        raise AssertionError(f"still at work after {limit} turns: {self.running}")

    def generate(self, prompt, rid="one", **options):
        self.forget()
        self.submit(rid, prompt, **options)
        self.finish()
        return self.deltas[rid]

    def forget(self):
        """Forgets what ended, so that ids can be used again."""
        assert not self.running
        self.deltas.clear()
        self.refusals.clear()
        self.counts.clear()

    def flush(self):
        assert self.scheduler.flush_cache()

    def close(self):
        self.engine.close()
        self._watchdog.close()


def joined(logprobs: Logprobs | None) -> list[tuple[int, float | None]]:
    return [] if logprobs is None else list(zip(logprobs.tokens, logprobs.logprobs, strict=True))

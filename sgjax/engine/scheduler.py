"""Which request computes what in the next step, and what the results mean for each.

    add -> waiting -> schedule -> running: prefilling -> decoding -> update -> ended
                         ^                     |             |
                         +----- retraction ----+-------------+

Every step pays off what requests owe: first a token of every decoding request, then prompts that
were begun, then new ones. A step is booked when it is planned, so that the next can be planned
before its results are read; `update` reads them, in order, and may find that a request has ended
whose next row is on its way already: that row is a ghost, and is ignored. Ghosts do no harm: steps
run on the device in order, so a page that is free now is written by its next owner after every
ghost.

Everything here is a function of the calls that were made: no clock, no unseeded chance.
"""

import dataclasses
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sgjax.cache.prefix_cache import Imbalance, PrefixCache
from sgjax.engine.batch import Batch, StepResults
from sgjax.engine.limits import Limits
from sgjax.engine.pace import Pace
from sgjax.engine.plan import Plan
from sgjax.engine.policy import Policy, WaitingQueue
from sgjax.engine.reading import Reader
from sgjax.engine.request import NO_SLOT, FinishReason, Request
from sgjax.engine.reserve import Reserve
from sgjax.engine.results import Drawn, Output
from sgjax.engine.sharing import Sharing
from sgjax.engine.stats import Stats
from sgjax.errors import InvalidRequest, QueueFull


class _DecodeRows(NamedTuple):
    """The requests that a step gives one token each, those that the device holds."""

    requests: list[Request]
    slots: np.ndarray  # i32[n]
    starts: np.ndarray  # i32[n]
    at_page_end: np.ndarray
    """Indices of those whose token begins a page."""
    shared: np.ndarray | None
    """What they share, as Batch has it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """Requests whose undrawn tokens are being drawn."""

    requests: list[Request]


class Scheduler:
    """Plans steps for the requests it was given. See the module.

    Args:
        limits: the sizes it keeps to.
        cache: with limits.num_pages pages of limits.page_size tokens; its own from now on.
        policy: who of those that wait comes first.
        conservativeness: more than 1: more pages are reserved for tokens still to be generated.
        seed: of the policy "random".
        sharing: arranges the rows that decode; None: they are in the order of admission.
        jumps: tokens that a grammar leaves no choice of are not drawn.
    """

    def __init__(
        self,
        limits: Limits,
        cache: PrefixCache,
        *,
        policy: Policy = "lpm",
        conservativeness: float = 1.0,
        seed: int = 0,
        sharing: Sharing | None = None,
        jumps: bool = True,
    ):
        self.limits = limits
        self.stats = Stats()
        self._cache = cache
        self._waiting = WaitingQueue(policy, cache, seed)
        # Running requests in order of admission. Prefilling: how many columns of its page table the
        # device has; decoding: its num_needed, where its bookings end.
        self._prefilling: dict[Request, int] = {}
        self._decoding: dict[Request, int] = {}
        self._by_rid: dict[str, Request] = {}
        self._slots = list(range(limits.num_slots - 1, -1, -1))
        self._pending: deque[Batch] = deque()  # planned, results not read
        self._draws: list[Draw] = []  # launched, tokens not read
        self._num_arrived = 0
        self._num_held = 0  # steps for which those that jump were held
        self.only: set[Request] | None = None
        """The only waiting requests that may start now, if not None."""
        self.pace: Pace | None = None
        """Keeps prompts from holding up those who decode; None: whatever has room is computed."""
        self._reserve = Reserve(limits.page_size, conservativeness)
        self._sharing = sharing
        self._reader = Reader(self.stats, end=self._end, owe=self._owe, jumps=jumps)

    @property
    def num_running(self) -> int:
        return len(self._prefilling) + len(self._decoding)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def has_work(self) -> bool:
        return bool(self._by_rid)

    @property
    def running(self) -> list[Request]:
        return [*self._decoding, *self._prefilling]

    @property
    def new_token_ratio(self) -> float:
        """The share of the tokens that running requests may still make for which pages are kept."""
        return self._reserve.ratio

    def snapshot(self) -> dict[str, int]:
        """How things stand, and the counters: fields of EngineStats."""
        return {
            "num_running": self.num_running,
            "num_waiting": self.num_waiting,
            "num_pages": self.limits.num_pages,
            "num_free_pages": self._cache.pool.num_free,
            "num_cached_pages": self._cache.tree.num_evictable,
            **dataclasses.asdict(self.stats),
        }

    # Requests come and go.

    def add(self, request: Request) -> Output | None:
        """Puts a new request in line; what it gains at once, where its grammar leaves no choice.

        Raises:
            InvalidRequest: its prompt is empty, or its rid is in use.
            ContextTooLong: prompt and max_new_tokens exceed the context.
            NeverFits: it may need more pages than there are.
            QueueFull: max_queued requests wait.
        """
        self.check(request)
        request.arrival = self._num_arrived
        self._num_arrived += 1
        self._by_rid[request.rid] = request
        self._waiting.add(request)
        forced, finish = self._reader.force(request)
        return Output(request, forced, finish) if forced else None

    def check(self, request: Request) -> None:
        """Raises what `add` would."""
        limits = self.limits
        if not request.tokens:
            raise InvalidRequest("The prompt must have at least one token.", param="prompt")
        if request.rid in self._by_rid:
            raise InvalidRequest(
                f"A request with the id {request.rid!r} runs already. Choose another id.",
                param="rid",
            )
        limits.check(request)
        if len(self._waiting) >= limits.max_queued:
            raise QueueFull(
                f"{len(self._waiting)} requests wait already, and at most {limits.max_queued} may. "
                "Try again later, or serve with a larger --max-queued-requests."
            )

    def abort(self, rid: str | None, reason: str = "aborted") -> list[Request]:
        """Ends a request (None: all), wherever it is; an unknown rid is nobody's. What it computed
        stays in the cache. Returns those that ended."""
        if rid is None:
            requests = list(self._by_rid.values())
        else:
            requests = [self._by_rid[rid]] if rid in self._by_rid else []
        for request in requests:
            self._end(request, FinishReason("abort", message=reason))
        self.stats.aborted_requests += len(requests)
        return requests

    def fail(self, what: Batch | Iterable[Request], message: str) -> list[Request]:
        """Ends the requests of a step that failed, or these requests; the cache keeps nothing that
        they computed. Returns those that ended (some of a step may have ended before). A step that
        is not pending, or not any more after `reset_cache`, is nobody's.

        If later steps are on their way, which read what the failed one should have written, then
        all that is computed is given up, as by `reset_cache`, and their results are void.
        """
        is_batch = isinstance(what, Batch)
        later = self._pending_after(what) if is_batch else 0
        if later is None:
            return []
        requests = what.requests if is_batch else list(what)
        ended = [request for request in requests if request.finish_reason is None]
        for request in requests:
            if request.finish_reason is None:
                self._reader.fail(request, message)
            else:
                self._cache.forget(request, request.num_known)
        if is_batch:
            self._pending = deque(batch for batch in self._pending if batch is not what)
        if later:
            self.reset_cache()
        return ended

    def _pending_after(self, batch: Batch) -> int | None:
        """How many steps were planned after a pending one; None: it is not pending."""
        for later, pending in enumerate(reversed(self._pending)):
            if pending is batch:
                return later
        return None

    def _end(self, request: Request, finish: FinishReason, *, keep: bool = True) -> None:
        request.finish_reason = finish
        del self._by_rid[request.rid]
        if request.slot == NO_SLOT:
            self._waiting.remove(request)
        else:
            self._stop(request, keep=keep)

    def _stop(self, request: Request, *, keep: bool = True) -> None:
        """Takes a running request's slot and pages. They can be given away at once, even while
        steps that name them are on their way: see the module."""
        if keep:
            self._cache.release(request, min(request.num_computed, request.num_known))
        else:
            self._cache.forget(request, request.num_known)
        self._slots.append(request.slot)
        request.slot = NO_SLOT
        request.num_computed = 0
        request.is_undrawn = False
        self._prefilling.pop(request, None)
        self._decoding.pop(request, None)

    # Planning.

    def schedule(self) -> Batch | None:
        """Plans and books the next step, which must then be run.

        None: there is nothing to plan before the results of pending steps are read, or at all.
        """
        rows = self._decode_rows()
        if not self._cache.make_free(len(rows.at_page_end)):
            if self._pending or self._draws:
                return None
            rows = self._retract()
        plan = Plan(self.limits, self.pace)
        self._plan_decode(plan, rows)
        if self._prefilling or self._waiting:
            self._plan_prefill(plan)
            self._plan_new(plan)
        if plan.is_empty:
            self._rest()
            return None
        batch = plan.batch()
        self._pending.append(batch)
        return batch

    def _rest(self) -> None:
        """Nothing could be planned."""
        if not self.has_work:
            self._reserve.reset()
        elif not (self._pending or self._draws or self._is_undrawn):
            # Those who run have pages for what they owe, or give way; who waits fits when nobody
            # runs. So this is a fault: pages were lost.
            self.heal()

    @property
    def _is_undrawn(self) -> bool:
        """Whether anybody's next token waits to be drawn."""
        return any(request.is_undrawn for request in self._decoding)

    def _decode_rows(self) -> _DecodeRows:
        """A row of one token for every decoding request that may need another."""
        requests = [
            request
            for request, needed in self._decoding.items()
            if request.num_computed != needed and not request.is_undrawn
        ]
        shared = None
        if self._sharing is not None:
            requests, shared = self._sharing.arrange(requests)
        slots = np.array([request.slot for request in requests], np.int32)
        starts = np.array([request.num_computed for request in requests], np.int32)
        at_page_end = np.flatnonzero(starts % self.limits.page_size == 0)
        return _DecodeRows(requests, slots, starts, at_page_end, shared)

    def _plan_decode(self, plan: Plan, rows: _DecodeRows) -> None:
        """Plans and books them, with pages for those that begin one, which are free."""
        requests, slots, starts, at, plan.shared = rows
        if not requests:
            return
        if len(at):
            pages = self._cache.take(len(at))
            for row, page in zip(at.tolist(), pages, strict=True):
                requests[row].pages.append(page)
            plan.add_page_each(slots[at], starts[at] // self.limits.page_size, pages)
        for request in requests:
            request.num_computed += 1
            request.is_undrawn = request.grammar is not None
        plan.add_decode(requests, slots, starts)
        self._reserve.decay()

    def _plan_prefill(self, plan: Plan) -> None:
        """The next chunks of prompts that were begun."""
        begun = self._due(plan)
        longest = max((request.num_computed for request in begun), default=0)
        num_new = sum(not request.num_outputs for request in begun)
        plan.keep_pace(num_new + len(self._waiting), longest)
        for request in begun:
            if plan.is_full:
                break
            is_last = request is begun[-1] and not self._waiting
            self._plan_chunk(request, plan, is_last=is_last)

    def _due(self, plan: Plan) -> list[Request]:
        """Those that were begun, but for some that jump: a step with more than a token a row takes
        longer, so while others draw freely, those who jump do it together, and now and then: as
        the pace has it."""
        begun = list(self._prefilling)
        jumping = [request for request in begun if request.num_forced and request.num_outputs]
        is_long_anyway = len(jumping) < len(begun) or bool(self._waiting)
        self._num_held += 1
        may_hold = jumping and plan.has_free and not is_long_anyway
        if may_hold and self._num_held < plan.steps_a_jump(jumping):
            return []
        self._num_held = 0
        return begun

    def _plan_chunk(self, request: Request, plan: Plan, *, is_last: bool) -> bool:
        """Plans and books as much of a request as there is room for; False: nothing."""
        size = self.limits.page_size
        if request.num_computed == len(request.pages) * size == request.num_cache_pages * size:
            # Another request may have computed what comes next, even in this step.
            self._cache.extend(request, request.hit_limit)
            request.num_computed = len(request.pages) * size
        most = (len(request.pages) + self._cache.num_available) * size
        row = plan.chunk(request, most, is_last=is_last)
        if row is None:
            return False
        self._cache.grow(request, -(-row.end // size))
        self._cache.share(request, row.end)
        first = self._prefilling[request]
        plan.add_pages(request.slot, first, request.pages[first:])
        self._prefilling[request] = len(request.pages)
        request.num_computed = row.end
        request.is_undrawn = row.samples and request.grammar is not None
        if row.end == request.num_known:
            del self._prefilling[request]
            self._decoding[request] = request.num_needed
        plan.add_chunk(row)
        return True

    def _plan_new(self, plan: Plan) -> None:
        """Admits waiting requests in the policy's order, until one does not fit."""
        if not self._waiting or plan.is_full or self.num_running >= self.limits.max_running:
            return
        reserve = self._reserve
        promised = reserve.decode_pages(self._decoding) + sum(map(reserve.pages, self._prefilling))
        for request in self._waiting.ranked():
            if plan.is_full or self.num_running >= self.limits.max_running:
                break
            if self.only is not None and request not in self.only:
                continue
            self._find(request)
            needed = promised + reserve.pages(request)
            fits = needed <= self._cache.num_available or not self.num_running
            has_room = plan.has_room(request)
            if not (fits and has_room and self._start(request, plan)):
                self._cache.release(request, 0)
                if has_room:
                    break
                continue
            promised += reserve.pages(request)

    def _find(self, request: Request) -> None:
        """Gives a waiting request the pages of the tree that are its own."""
        self._cache.extend(request, request.hit_limit)
        request.num_computed = len(request.pages) * self.limits.page_size
        if not request.num_retractions:
            request.num_cached = request.num_computed

    def _start(self, request: Request, plan: Plan) -> bool:
        """Makes a request run, if its first chunk has room."""
        num_found = request.num_computed
        is_last = len(self._waiting) == 1
        request.slot = self._slots.pop()
        self._prefilling[request] = 0
        if not self._plan_chunk(request, plan, is_last=is_last):
            self._stop(request)
            return False
        self._waiting.admit(request)
        plan.restarted.append(request)
        if not request.num_retractions:
            self.stats.prompt_tokens += request.num_prompt
            self.stats.cached_tokens += num_found
        return True

    # Giving way.

    def _retract(self) -> _DecodeRows:
        """Sends requests back to the line until those that stay have pages for their next tokens;
        returns their rows."""
        rows = self._decode_rows()
        while not self._cache.make_free(len(rows.at_page_end)):
            self._retract_one()
            rows = self._decode_rows()
        self._reserve.rise(self.running)
        return rows

    def _retract_one(self) -> None:
        """Sends back who has the fewest outputs; of those the longest prompt; then the last to
        come. What it computed stays in the cache while nobody needs the pages."""
        victim = min(
            self.running,
            key=lambda request: (request.num_outputs, -request.num_prompt, -request.arrival),
        )
        self._stop(victim)
        victim.num_retractions += 1
        self.stats.retractions += 1
        self._waiting.add(victim)

    # Results.

    def update(self, batch: Batch, results: StepResults) -> tuple[Drawn, list[Output]]:
        """Books the results of a step: steps are read in the order in which they were planned.

        Returns the requests with news. A step planned before `reset_cache` has none.

        Raises:
            ValueError: an earlier step has not been read.
        """
        if self._pending_after(batch) is None:
            return Drawn([], []), []
        if self._pending[0] is not batch:
            raise ValueError("the results of an earlier step must be read first")
        self._pending.popleft()
        return self._reader.step(batch, results)

    def begin_draw(self, requests: Sequence[Request]) -> Draw:
        """Notes that the undrawn tokens of these are being drawn: `update_drawn` comes next."""
        for request in requests:
            request.is_undrawn = False
        draw = Draw(list(requests))
        self._draws.append(draw)
        return draw

    def update_drawn(self, draw: Draw, results: StepResults) -> tuple[Drawn, list[Output]]:
        """Books drawn tokens. A draw that began before `reset_cache` has none."""
        if draw not in self._draws:
            return Drawn([], []), []
        self._draws.remove(draw)
        return self._reader.drawn(draw.requests, results)

    def fail_grammar(self, request: Request, fault: str) -> list[Request]:
        """Ends a request whose grammar cannot go on; those that ended: it, unless it had."""
        if request.finish_reason is not None:
            return []
        self._reader.fail_grammar(request, fault)
        return [request]

    def _owe(self, request: Request) -> None:
        """Known tokens were added to a running request: they are computed like a prompt's."""
        request.is_undrawn = False
        if request in self._decoding:
            del self._decoding[request]
            self._prefilling[request] = len(request.pages)

    # When things go wrong.

    def reset_cache(self) -> None:
        """Starts all over, for an engine that has lost the device's state: nothing is computed, all
        running requests wait again with the tokens they have, results of pending steps are void."""
        self._pending.clear()
        self._draws.clear()
        # One that ended has a place still only if something broke while it was taken away.
        running = [request for request in self.running if request.finish_reason is None]
        self._prefilling.clear()
        self._decoding.clear()
        self._slots = list(range(self.limits.num_slots - 1, -1, -1))
        self._cache.reset()
        for request in running:
            request.slot, request.cache_node, request.is_undrawn = NO_SLOT, None, False
            request.pages = array("i")
            request.num_cache_pages = request.num_computed = 0
            request.num_retractions += 1
            self._waiting.add(request)
        self.stats.retractions += len(running)

    def flush_cache(self) -> bool:
        """Empties the prefix cache; False (and nothing done) while requests run or wait."""
        if self.has_work:
            return False
        self._cache.clear()
        return True

    def check_invariants(self) -> None:
        """Checks, slowly, that every page, slot and request is where it should be, once.

        Raises:
            Imbalance: something is not.
        """
        running = self.running
        self._cache.check(running)
        if sorted([*self._slots, *(request.slot for request in running)]) != list(
            range(self.limits.num_slots)
        ):
            raise Imbalance("a slot has no owner, or two")
        if {*running, *self._waiting} != set(self._by_rid.values()):
            raise Imbalance("a request neither runs nor waits, or does both")

    def heal(self) -> bool:
        """Checks the invariants; where they do not hold, starts all over. True if it did: nothing
        is lost but time."""
        try:
            self.check_invariants()
        except Imbalance:
            self.stats.page_imbalance += 1
            self.reset_cache()
            return True
        return False

"""A scheduler and a paged device, driven as the engine drives them, with everything checked."""

from collections import Counter, deque

from sgjax.cache.prefix_cache import PrefixCache
from sgjax.engine.batch import Batch, StepResults
from sgjax.engine.limits import Limits
from sgjax.engine.messages import Logprobs
from sgjax.engine.request import NO_SLOT, FinishReason, Request
from sgjax.engine.results import Output
from sgjax.engine.scheduler import Scheduler
from tests.engine.paged_device import PagedDevice, logprob, make_request, plain_outputs


class Simulation:
    """Plans are run at once; results are read when the caller says so.

    `plans` has an entry a step: (rid, start, num_tokens, samples) of each row.
    """

    def __init__(self, limits: Limits, *, enabled: bool = True, **options):
        self.cache = PrefixCache(limits.num_pages, limits.page_size, enabled=enabled)
        self.scheduler = Scheduler(limits, self.cache, **options)
        self.device = PagedDevice(limits)
        self.pending: deque[tuple[Batch, StepResults]] = deque()
        self.requests: dict[str, Request] = {}
        self.outputs: dict[str, list[int]] = {}
        self.logprobs: dict[str, list[float]] = {}
        self.prompt_logprobs: dict[str, list[tuple[int, float]]] = {}
        self.ended: set[str] = set()
        self.plans: list[list[tuple[str, int, int, bool]]] = []

    def add(self, rid: str, prompt: list[int], max_new_tokens: int = 4, **fields) -> Request:
        request = make_request(rid, prompt, max_new_tokens, **fields)
        self.scheduler.add(request)
        self.requests[rid] = request
        self.outputs[rid], self.logprobs[rid], self.prompt_logprobs[rid] = [], [], []
        return request

    def abort(self, rid: str | None) -> None:
        self._end(self.scheduler.abort(rid))

    def plan(self) -> Batch | None:
        """Plans and runs a step."""
        batch = self._schedule()
        if batch is not None:
            self.pending.append((batch, self.device.run(batch)))
        return batch

    def fail_plan(self) -> None:
        """Plans a step that fails before it writes anything."""
        batch = self._schedule()
        if batch is not None:
            self._end(self.scheduler.fail(batch, "the launch failed"))
            self.scheduler.check_invariants()

    def fail_oldest(self) -> None:
        """The oldest step that was not read turns out to have failed, and so do those after it,
        which read what it should have written."""
        batch, _ = self.pending[0]
        for each, _ in self.pending:
            self.device.unwrite(each)
        self._end(self.scheduler.fail(batch, "the step failed"))
        for each, results in self.pending:
            assert self._update(each, results) == [], "a failed step is void"
        self.pending.clear()
        self.scheduler.check_invariants()

    def lose_device(self) -> None:
        self.device.reset()
        self.scheduler.reset_cache()
        for batch, results in self.pending:
            assert self._update(batch, results) == [], "a lost step is void"
        self.pending.clear()
        self.scheduler.check_invariants()

    def read(self, poisoned: int | None = None) -> list[Output]:
        """Reads the oldest step that was not read; `poisoned`: an entry to be read as NaN."""
        batch, results = self.pending.popleft()
        if poisoned is not None and len(results.tokens):
            results.tokens[poisoned % len(results.tokens)] = -1
        outputs = self._update(batch, results)
        self.scheduler.check_invariants()
        for output in outputs:
            self._take(output)
        return outputs

    def step(self, depth: int = 0) -> Batch | None:
        """Plans a step and reads those before it, but for the last `depth`."""
        batch = self.plan()
        while len(self.pending) > (depth if batch else 0):
            self.read()
        return batch

    def run(self, depth: int = 0) -> None:
        """Steps until nothing is left."""
        steps_left = 50 + 10 * sum(r.num_prompt + r.max_new_tokens for r in self.requests.values())
        while self.scheduler.has_work or self.pending:
            self.step(depth)
            steps_left -= 1
            assert steps_left > 0, "it does not come to an end"

    def check_ended(self) -> None:
        """Everything ended, has the outputs that the model alone gives, and every page is back."""
        for rid, request in self.requests.items():
            assert rid in self.ended
            right = plain_outputs(request)
            if request.finish_reason.type == "abort":
                assert self.outputs[rid] == right[: len(self.outputs[rid])]
            else:
                assert self.outputs[rid] == right
                assert self.prompt_logprobs[rid] == _plain_prompt_logprobs(request)
                assert request.finish_reason == _plain_finish(request, right)
            if request.return_logprob:
                assert self.logprobs[rid] == _plain_logprobs(request, self.outputs[rid])
        assert self.scheduler.num_running == self.scheduler.num_waiting == 0
        assert self.cache.num_available == self.cache.pool.num_pages

    def _update(self, batch: Batch, results: StepResults) -> list[Output]:
        drawn, outputs = self.scheduler.update(batch, results)
        pairs = zip(drawn.requests, drawn.tokens, strict=True)
        return outputs + [Output(request, [token]) for request, token in pairs]

    def _schedule(self) -> Batch | None:
        was_pending = bool(self.pending)
        batch = self.scheduler.schedule()
        self.scheduler.check_invariants()
        if batch is None:
            assert was_pending or not self.scheduler.has_work, "nothing in flight, and no progress"
            return None
        rows = {row.request for row in batch.rows}
        in_flight = Counter(
            row.request
            for each in [*(each for each, _ in self.pending), batch]
            for row in each.rows
            if row.samples
        )
        for request in self.scheduler.running:
            assert request.num_in_flight == in_flight[request]
            may_go_on = request.num_computed < request.num_needed
            assert request in rows or not (request.num_in_flight and may_go_on), "a row starves"
        self.plans.append(
            [(row.request.rid, row.start, row.num_tokens, row.samples) for row in batch.rows]
        )
        return batch

    def _take(self, output: Output) -> None:
        rid = output.request.rid
        assert rid not in self.ended
        self.outputs[rid] += output.token_ids
        if output.logprobs:
            assert output.logprobs.tokens == output.token_ids
            self.logprobs[rid] += output.logprobs.logprobs
            _check_top(output.request, output.logprobs)
        if gained := output.prompt_logprobs:
            self.prompt_logprobs[rid] += zip(gained.tokens, gained.logprobs, strict=True)
            _check_top(output.request, gained)
        if output.finish:
            self._end([output.request])

    def _end(self, requests: list[Request]) -> None:
        for request in requests:
            assert request.finish_reason and request.rid not in self.ended
            assert request.slot == NO_SLOT and not request.pages
            self.ended.add(request.rid)


def _check_top(request: Request, gained: Logprobs) -> None:
    """The device's top tokens are target, target + 1, ... with falling logprobs."""
    if not request.top_logprobs:
        assert gained.top is None
        return
    for token, value, top in zip(gained.tokens, gained.logprobs, gained.top, strict=True):
        assert top == [(value - i, token + i) for i in range(request.top_logprobs)]


def _plain_logprobs(request: Request, outputs: list[int]) -> list[float]:
    ids = request.prompt_ids + outputs
    return [logprob(ids[:i], ids[i]) for i in range(request.num_prompt, len(ids))]


def _plain_prompt_logprobs(request: Request) -> list[tuple[int, float]]:
    if request.logprob_start is None:
        return []
    ids = request.prompt_ids
    return [(ids[i], logprob(ids[:i], ids[i])) for i in range(request.logprob_start + 1, len(ids))]


def _plain_finish(request: Request, outputs: list[int]) -> FinishReason:
    if len(outputs) == request.max_new_tokens:
        return FinishReason("length", length=len(outputs))
    return FinishReason("stop", matched=outputs[-1])

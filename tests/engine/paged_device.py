"""A device for tests of the scheduler: a page table, a paged cache, and a model that is a hash.

Its model is a pure function of the tokens before: the next token is drawn from a hash of the whole
prefix. Its cache holds, in each place of each page, what a real one would depend on: the token, its
position, and the hash of the tokens up to it. Each row, before it attends, reads its pages through
its table and compares them with its request's history: whatever the scheduler or the cache does
wrong with pages shows up there, in the step that reads it.
"""

import dataclasses
import hashlib

import numpy as np

from sgjax.engine.batch import Batch, Row, StepResults
from sgjax.engine.limits import Limits
from sgjax.engine.request import Request
from sgjax.sampling_params import SamplingParams

VOCAB = 50
EOS = 0


def next_token(history: list[int], seed: int = 0) -> int:
    """The model, and its sampling: a token from the whole prefix and the request's seed."""
    digest = hashlib.blake2b(repr((history, seed)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % VOCAB


def logprob(history: list[int], token: int) -> float:
    return -float(next_token([*history, token], seed=-1)) - 0.5


def plain_outputs(request: Request) -> list[int]:
    """What the request generates with nothing but the model."""
    outputs: list[int] = []
    while len(outputs) < request.max_new_tokens:
        outputs.append(next_token(request.prompt_ids + outputs, request.seed))
        if outputs[-1] in request.stop_ids:
            break
    return outputs


def make_request(rid: str, prompt: list[int], max_new_tokens: int = 4, **fields) -> Request:
    fields.setdefault("stop_ids", frozenset({EOS}))
    return Request(rid, list(prompt), SamplingParams(), max_new_tokens=max_new_tokens, **fields)


def make_limits(**fields) -> Limits:
    defaults = {
        "num_pages": 64,
        "page_size": 4,
        "num_slots": 8,
        "max_step_tokens": 64,
        "max_prefill_tokens": 64,
        "max_logits": 16,
        "context_length": 256,
        "max_pages_per_request": 256,
        "max_queued": 1000,
    }
    return Limits(**(defaults | fields))


@dataclasses.dataclass(frozen=True)
class Cell:
    token: int
    position: int
    history: int
    """Hash of all tokens up to it, and of the namespace."""


class PagedDevice:
    """Runs batches in the order they come; the host may read the results later."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._pages: list[list[Cell | None]]
        self.reset()
        self.num_computed = 0
        """Tokens computed in all steps: what caching saves."""

    def reset(self) -> None:
        """Loses everything, as after a step that failed with the cache in it."""
        size = self.limits.page_size
        self._pages = [[None] * size for _ in range(self.limits.num_pages)]
        columns = self.limits.max_pages_per_request
        self._tables = np.full((self.limits.num_slots, columns), -1)
        self._histories: dict[int, list[int]] = {}  # by slot: the tokens of its request so far
        self._owners: dict[int, Request] = {}

    def run(self, batch: Batch) -> StepResults:
        self._check_sizes(batch)
        for slot, column, page in batch.table_updates:
            self._tables[slot, column] = page
        for request in batch.restarted:
            self._owners[request.slot] = request
            self._histories[request.slot] = request.token_ids(0, request.num_known)
        for row in batch.rows:
            self._write(row)
        entries = [entry for row in batch.rows for entry in self._attend(row)]
        self.num_computed += batch.num_tokens
        tokens = np.array([token for token, _ in entries], np.int32)
        logprobs = np.array([value for _, value in entries], np.float32)
        top = np.arange(20, dtype=np.int32) + tokens[:, None]
        values = logprobs[:, None] - np.arange(20, dtype=np.float32)
        return StepResults(tokens, logprobs, top, values)

    def _check_sizes(self, batch: Batch) -> None:
        limits = self.limits
        assert batch.rows
        assert batch.num_tokens <= limits.max_step_tokens
        assert batch.num_logits <= limits.max_logits
        assert len(batch.rows) <= limits.num_slots
        assert len({row.slot for row in batch.rows}) == len(batch.rows)
        assert len({update[:2] for update in batch.table_updates}) == len(batch.table_updates)
        longer = [row.num_tokens > 1 for row in batch.rows]
        assert longer == sorted(longer), "rows of one token come first"
        prompts = [row for row in batch.rows if row.start < len(row.request.prompt_ids)]
        new = sum(row.num_tokens for row in prompts)
        assert new <= limits.max_prefill_tokens or len(prompts) == 1

    def _place(self, slot: int, position: int) -> tuple[int, int]:
        column, offset = divmod(position, self.limits.page_size)
        page = int(self._tables[slot, column])
        assert page >= 0, "a row has no page for a token"
        return page, offset

    def _history(self, row: Row) -> list[int]:
        assert self._owners[row.slot] is row.request, "a slot's request was not restarted"
        return self._histories[row.slot]

    def _write(self, row: Row) -> None:
        history = self._history(row)
        assert row.num_tokens > 0
        assert row.end <= len(history), "a token is computed that nobody has sampled"
        for position in range(row.start, row.end):
            page, offset = self._place(row.slot, position)
            self._pages[page][offset] = _cell(row.request, history, position)

    def _attend(self, row: Row) -> list[tuple[int, float]]:
        """(token, logprob) of each wanted logits."""
        history = self._history(row)
        for position in range(row.end):
            page, offset = self._place(row.slot, position)
            found, right = self._pages[page][offset], _cell(row.request, history, position)
            assert found == right, f"{row.request.rid} reads {found} at {position}, not {right}"
        assert row.start <= row.logits_from <= row.end
        assert not row.samples or (row.num_logits and row.end == len(history))
        entries = []
        for position in range(row.logits_from, row.end - row.samples):
            target = history[position + 1]
            entries.append((target, logprob(history[: position + 1], target)))
        if row.samples:
            token = next_token(history, row.request.seed)
            entries.append((token, logprob(history, token)))
            history.append(token)
        return entries


def _cell(request: Request, history: list[int], position: int) -> Cell:
    return Cell(history[position], position, hash((request.cache_salt, *history[: position + 1])))

"""A device for tests of the scheduler: a page table, a paged cache, and a model that is a hash.

Its model is a pure function of the tokens before: the next token is drawn from a hash of the whole
prefix. Its cache holds, in each place of each page, what a real one would depend on: the token, its
position, and the hash of the tokens up to it. Each row, before it attends, reads its pages through
its table and compares them with its request's history: whatever the scheduler or the cache does
wrong with pages shows up there, in the step that reads it.
"""

import hashlib
from array import array
from typing import NamedTuple

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
    return Request(
        rid, array("i", prompt), SamplingParams(), max_new_tokens=max_new_tokens, **fields
    )


def make_limits(**fields) -> Limits:
    defaults = {
        "num_pages": 64,
        "page_size": 4,
        "num_slots": 8,
        "max_step_tokens": 64,
        "max_prefill_tokens": 64,
        "max_logits": 16,
        "context_length": 4096,
        "max_pages_per_request": 4096,
        "max_queued": 1000,
    }
    return Limits(**(defaults | fields))


class Cell(NamedTuple):
    """What one place of a page holds."""

    token: int
    position: int
    prefix: int
    """A hash of the namespace and all tokens up to it."""


def cells(namespace: str, tokens: list[int], before: list[Cell]) -> list[Cell]:
    """What `tokens` leave in the cache after the cells `before`."""
    made = list(before)
    for token in tokens:
        prefix = hash((made[-1].prefix if made else namespace, token))
        made.append(Cell(token, len(made), prefix))
    return made[len(before) :]


class PagedDevice:
    """Runs batches in the order in which they come; the host may read the results later."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.num_computed = 0
        """Tokens computed in all steps: what caching saves."""
        self.num_shared = 0
        """Tokens that rows need not read in all steps, since another row of their group does."""
        self.reset()

    def reset(self) -> None:
        """Loses everything, as after a step that failed with the cache in it."""
        size = self.limits.page_size
        self._pages: list[list[Cell | None]] = [[None] * size for _ in range(self.limits.num_pages)]
        self._tables: dict[int, list[int]] = {}  # by slot
        self._right: dict[int, list[Cell]] = {}  # by slot: what its request's cache should hold
        self._owners: dict[int, Request] = {}
        self._written: dict[int, list[tuple[int, int]]] = {}  # by a batch's id: places

    def run(self, batch: Batch) -> StepResults:
        self._check_sizes(batch)
        for request in batch.restarted:
            self._owners[request.slot] = request
            known = request.tokens.tolist()
            self._right[request.slot] = cells(request.cache_salt, known, [])
            self._tables[request.slot] = []
        for slot, column, page in batch.table_updates.T.tolist():
            assert column == len(self._tables[slot]), "a table entry is missing, or sent twice"
            self._tables[slot].append(page)
        self._check_shared(batch)
        self._written[id(batch)] = [place for row in batch.rows for place in self._write(row)]
        entries = [entry for row in batch.rows for entry in self._attend(row)]
        self.num_computed += batch.num_tokens
        tokens = np.array([token for token, _ in entries], np.int32)
        logprobs = np.array([value for _, value in entries], np.float32)
        top = np.arange(20, dtype=np.int32) + tokens[:, None]
        values = logprobs[:, None] - np.arange(20, dtype=np.float32)
        return StepResults(tokens, logprobs, top, values)

    def unwrite(self, batch: Batch) -> None:
        """Spoils what the batch wrote: it failed, but that was seen only later."""
        for page, offset in self._written[id(batch)]:
            self._pages[page][offset] = None

    def _check_sizes(self, batch: Batch) -> None:
        limits = self.limits
        assert batch.rows
        assert all(row.num_tokens == 1 for row in batch.rows[: batch.num_decoding])
        assert all(row.end <= row.request.num_known for row in batch.rows[batch.num_decoding :])
        assert batch.num_tokens <= limits.max_step_tokens
        assert batch.num_logits <= limits.max_logits
        assert len(batch.rows) <= limits.num_slots
        assert len({row.slot for row in batch.rows}) == len(batch.rows)
        longer = [row.num_tokens > 1 for row in batch.rows]
        assert longer == sorted(longer), "rows of one token come first"
        prompts = [row for row in batch.rows if row.start < row.request.num_prompt]
        new = sum(row.num_tokens for row in prompts)
        assert new <= limits.max_prefill_tokens or len(prompts) == 1

    def _check_shared(self, batch: Batch) -> None:
        """Rows of a group lie together, and begin with the pages that its first row begins with."""
        if batch.shared is None:
            return
        firsts, shared = batch.shared.tolist()
        assert len(firsts) == batch.num_decoding
        rows, size = batch.rows, self.limits.page_size
        for index, (first, num_tokens) in enumerate(zip(firsts, shared, strict=True)):
            if not num_tokens:
                continue
            group = slice(first, index + 1)
            assert set(firsts[group]) == {first} and set(shared[group]) == {num_tokens}
            assert num_tokens < rows[index].end and not num_tokens % size
            own, leading = (self._tables[rows[i].slot] for i in (index, first))
            assert own[: num_tokens // size] == leading[: num_tokens // size]
            self.num_shared += num_tokens * (index > first)

    def _place(self, row: Row, position: int) -> tuple[int, int]:
        column, offset = divmod(position, self.limits.page_size)
        return self._tables[row.slot][column], offset

    def _write(self, row: Row) -> list[tuple[int, int]]:
        assert self._owners[row.slot] is row.request, "a slot's request was not restarted"
        right = self._right[row.slot]
        assert row.num_tokens > 0
        assert row.end <= len(right), "a token is computed that nobody has sampled"
        places = [self._place(row, position) for position in range(row.start, row.end)]
        for (page, offset), cell in zip(places, right[row.start : row.end], strict=True):
            self._pages[page][offset] = cell
        return places

    def _attend(self, row: Row) -> list[tuple[int, float]]:
        """(token, logprob) of each wanted logits."""
        right = self._right[row.slot]
        for position in range(row.end):
            page, offset = self._place(row, position)
            found = self._pages[page][offset]
            assert found == right[position], f"{row.request.rid} reads {found}: {right[position]}"
        assert row.start <= row.logits_from <= row.end
        assert not row.samples or (row.num_logits and row.end == len(right))
        history = [cell.token for cell in right]
        entries = []
        for position in range(row.logits_from, row.end - row.samples):
            target = history[position + 1]
            entries.append((target, logprob(history[: position + 1], target)))
        if row.samples:
            token = next_token(history, row.request.seed)
            entries.append((token, logprob(history, token)))
            right += cells(row.request.cache_salt, [token], right)
        return entries

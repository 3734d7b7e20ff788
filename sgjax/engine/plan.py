"""A step in the making: what it holds, and what it has room for."""

from array import array
from collections.abc import Sequence

import numpy as np

from sgjax.engine.batch import Batch, Row, ranges
from sgjax.engine.limits import Limits
from sgjax.engine.pace import Pace
from sgjax.engine.request import Request


class Plan:
    """The rows of a step so far."""

    def __init__(self, limits: Limits, pace: Pace | None = None):
        self.restarted: list[Request] = []
        self.shared: np.ndarray | None = None
        """Of the rows that decode, as Batch has it."""
        self._decoding: list[Request] = []
        self._decode_columns = np.zeros((5, 0), np.int32)
        self._single: list[Row] = []
        """Other rows of one token."""
        self._longer: list[Row] = []
        # Entries of page tables: those of decoding rows, a page each; then runs of them, each a
        # slot, its first column and the number of its pages; and the pages of all runs.
        self._single_pages = np.zeros((3, 0), np.int32)
        self._runs: list[tuple[int, int, int]] = []
        self._pages = array("i")
        self._pace = pace
        self._page_size = limits.page_size
        self._tokens_left = limits.max_step_tokens
        self._logits_left = limits.max_logits
        self._prefill_left = limits.max_prefill_tokens
        self._long_left = limits.max_step_tokens
        self._num_tokens = 0
        self._has_prefill = False
        self._has_whole_texts = limits.has_whole_texts

    @property
    def is_empty(self) -> bool:
        return not (self._decoding or self._single or self._longer)

    @property
    def is_full(self) -> bool:
        """Whether no prompt token has room."""
        return not self._tokens_left or (self._has_prefill and self._prefill_left <= 0)

    @property
    def has_free(self) -> bool:
        """Whether there is a row that decodes, and no grammar binds it."""
        return any(request.grammar is None for request in self._decoding)

    def add_decode(self, requests: list[Request], slots: np.ndarray, starts: np.ndarray) -> None:
        """Adds rows of one token with one logits each, the tokens at `starts`."""
        self._decoding = requests
        self._decode_columns = np.ones((5, len(requests)), np.int32)
        self._decode_columns[0] = slots
        self._decode_columns[1] = self._decode_columns[4] = starts
        self._tokens_left -= len(requests)
        self._logits_left -= len(requests)
        self._num_tokens += len(requests)

    def keep_pace(self, num_waiting: int, start: int) -> None:
        """Limits what prompts get of the step, for those who decode: see Pace.share."""
        if self._pace is None:
            return
        share = self._pace.share(
            len(self._decoding),
            int(self._decode_columns[1].sum()),
            num_waiting=num_waiting,
            start=start,
        )
        if share is not None:
            self._tokens_left = min(self._tokens_left, share.num_tokens)
            self._long_left = share.num_long

    def steps_a_jump(self, jumping: Sequence[Request]) -> int:
        """After how many steps these compute what they owe, for those who decode."""
        if self._pace is None:
            return 1
        return self._pace.steps_a_jump(
            decoding=(len(self._decoding), int(self._decode_columns[1].sum())),
            jumping=(len(jumping), sum(request.num_computed for request in jumping)),
            num_owed=sum(request.num_known - request.num_computed for request in jumping),
        )

    def has_room(self, request: Request) -> bool:
        """Whether the share of long prompts is not used up, if this is one."""
        return self._long_left > 0 or not self._is_long(request)

    def add_page_each(self, slots: np.ndarray, columns: np.ndarray, pages: array) -> None:
        """Notes that the table of each slot has one more page, in this column."""
        self._single_pages = np.stack([slots, columns, np.frombuffer(pages, np.int32)])

    def add_pages(self, slot: int, column: int, pages: array) -> None:
        """Notes that the slot's table goes on with these pages, from this column."""
        self._runs.append((slot, column, len(pages)))
        self._pages += pages

    def chunk(self, request: Request, max_tokens: int, *, is_last: bool) -> Row | None:
        """The longest row that has room here and ends at most at the request's token `max_tokens`.
        If it is the step's last, it may be trimmed to a size.

        A row that does not reach the last known token ends with a page where it can, so that what
        is left begins with one.
        """
        start, known = request.num_computed, request.num_known
        room = self._tokens_left
        if self._has_prefill:
            room = min(room, self._prefill_left)
        if self._is_long(request):
            room = min(room, self._long_left)
        end = min(known, max_tokens, start + room)
        if is_last and self._pace is not None:
            end = start + self._pace.trimmed(self._num_tokens, end - start)
        first = _first_logits(request, start)
        if first is not None:
            end = min(end, first + self._logits_left)
            if not (request.max_new_tokens or request.is_pooled):
                # Nothing is sampled from the last prompt token: it gets a row without logits.
                end = min(end, known - 1)
        if self._has_whole_texts and end < known:
            return None
        whole = end - end % self._page_size
        if end < known and whole > start:
            end = whole
        if end <= start:
            return None
        samples = end == known and request.max_new_tokens > 0
        logits_from = end if first is None else min(first, end)
        return Row(request, request.slot, start, end - start, samples, logits_from)

    def add_chunk(self, row: Row) -> None:
        self._has_prefill = True
        (self._single if row.num_tokens == 1 else self._longer).append(row)
        if self._is_long(row.request):
            self._long_left -= row.num_tokens
        self._num_tokens += row.num_tokens
        self._tokens_left -= row.num_tokens
        self._prefill_left -= row.num_tokens
        self._logits_left -= row.num_logits

    def _is_long(self, request: Request) -> bool:
        return self._pace is not None and self._pace.is_long(request)

    def batch(self) -> Batch:
        requests, columns = self._decoding, self._decode_columns
        if self._single or self._longer:
            others = Batch.of(self._single + self._longer)
            requests = requests + others.requests
            columns = np.concatenate([columns, others.columns], axis=1)
        return Batch(
            requests,
            columns,
            len(self._decoding),
            self._table_updates(),
            self.restarted,
            self.shared,
        )

    def _table_updates(self) -> np.ndarray:
        if not self._runs:
            return self._single_pages
        slots, firsts, counts = np.array(self._runs, np.int32).T
        runs = np.empty((3, len(self._pages)), np.int32)
        runs[0] = np.repeat(slots, counts)
        runs[1] = ranges(firsts, counts)
        runs[2] = np.frombuffer(self._pages, np.int32)
        return np.concatenate([self._single_pages, runs], axis=1)


def _first_logits(request: Request, start: int) -> int | None:
    """The position of the first logits wanted from `start` on: for a prompt logprob, or else for
    the token to be sampled."""
    wanted = request.logits_wanted_from
    if wanted is not None and start < request.num_prompt - 1:
        return max(start, wanted)
    return request.num_known - 1 if request.max_new_tokens or request.is_pooled else None

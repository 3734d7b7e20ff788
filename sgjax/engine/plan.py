"""A step in the making: what it holds, and what it has room for."""

from sgjax.engine.batch import Batch, Row
from sgjax.engine.limits import Limits
from sgjax.engine.request import Request


class Plan:
    """The rows of a step so far."""

    def __init__(self, limits: Limits):
        self.single: list[Row] = []
        """Rows of one token."""
        self.longer: list[Row] = []
        self.table_updates: list[tuple[int, int, int]] = []
        self.restarted: list[Request] = []
        self._page_size = limits.page_size
        self._tokens_left = limits.max_step_tokens
        self._logits_left = limits.max_logits
        self._prefill_left = limits.max_prefill_tokens
        self._has_prefill = False

    @property
    def is_empty(self) -> bool:
        return not self.single and not self.longer

    @property
    def is_full(self) -> bool:
        """Whether no prompt token has room."""
        return not self._tokens_left or (self._has_prefill and self._prefill_left <= 0)

    def add_decode(self, rows: list[Row]) -> None:
        """Adds rows of one token with one logits each."""
        self.single += rows
        self._tokens_left -= len(rows)
        self._logits_left -= len(rows)

    def chunk(self, request: Request, max_tokens: int) -> Row | None:
        """The longest row that has room here and ends at most at the request's token `max_tokens`.

        A row that does not reach the last known token ends with a page where it can, so that what
        is left begins with one.
        """
        start, known = request.num_computed, request.num_known
        room = self._tokens_left
        if self._has_prefill:
            room = min(room, self._prefill_left)
        end = min(known, max_tokens, start + room)
        first = _first_logits(request, start)
        if first is not None:
            end = min(end, first + self._logits_left)
            if not request.max_new_tokens:
                # Nothing is sampled from the last prompt token: it gets a row without logits.
                end = min(end, known - 1)
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
        (self.single if row.num_tokens == 1 else self.longer).append(row)
        self._tokens_left -= row.num_tokens
        self._prefill_left -= row.num_tokens
        self._logits_left -= row.num_logits

    def batch(self) -> Batch:
        return Batch(self.single + self.longer, self.table_updates, self.restarted)


def _first_logits(request: Request, start: int) -> int | None:
    """The position of the first logits wanted from `start` on: for a prompt logprob, or else for
    the token to be sampled."""
    wanted = request.logits_wanted_from
    if wanted is not None and start < request.num_prompt - 1:
        return max(start, wanted)
    return request.num_known - 1 if request.max_new_tokens else None

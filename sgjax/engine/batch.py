"""What one step computes (scheduler to runner), and what came out of it (runner to scheduler)."""

import dataclasses
from typing import NamedTuple

import numpy as np

from sgjax.engine.request import Request


class Row(NamedTuple):
    """One request's share of a step: its next `num_tokens` uncomputed tokens.

        0 ..... start ............ logits_from ..... end
                |---- computed in this step ---------|
                                   |-- logits wanted-|

    The logits at position p tell of token p + 1. A row that reaches its request's last token
    samples: its last wanted logits give a new token. Wanted logits before that (or in a row that
    does not sample) are for prompt logprobs: their targets are known tokens. (A named tuple: steps
    have hundreds of rows, and a frozen dataclass takes four times as long to make.)
    """

    request: Request
    slot: int
    start: int
    num_tokens: int
    samples: bool
    logits_from: int

    @property
    def end(self) -> int:
        return self.start + self.num_tokens

    @property
    def num_logits(self) -> int:
        return self.end - self.logits_from


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """A step: rows of one token first, then the longer ones.

    `table_updates` are the entries of the device's page tables that differ from what the last step
    left there: (slot, column, page) each. `restarted` are the rows whose request took its slot in
    this step (new, or after a retraction): per-slot state of the device begins anew.
    """

    rows: list[Row]
    table_updates: list[tuple[int, int, int]]
    restarted: list[Request]

    @property
    def num_tokens(self) -> int:
        return sum(row.num_tokens for row in self.rows)

    @property
    def num_logits(self) -> int:
        return sum(row.num_logits for row in self.rows)


@dataclasses.dataclass(frozen=True, slots=True)
class StepResults:
    """The results of a step, on the host: an entry per wanted logits, rows in the batch's order.

    `logprobs`, `top_ids` and `top_logprobs` are None where no row asked for logprobs. Logprobs are
    of the raw logits, before penalties, biases and temperature. A token of -1 means that its logits
    held NaN or infinity: the request fails.
    """

    tokens: np.ndarray  # i32[R]; the target itself where the logits were for a prompt logprob
    logprobs: np.ndarray | None = None  # f32[R], of `tokens`
    top_ids: np.ndarray | None = None  # i32[R, 20], most likely first
    top_logprobs: np.ndarray | None = None  # f32[R, 20]

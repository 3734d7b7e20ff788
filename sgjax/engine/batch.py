"""What one step computes (scheduler to runner), and what came out of it (runner to scheduler)."""

import dataclasses
import functools
from collections.abc import Sequence
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
    does not sample) are for prompt logprobs: their targets are known tokens.
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


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """A step: rows of one token first, then the longer ones; the fields of all rows in columns,
    since steps have hundreds of rows, and most of them are alike.

    The first `num_decoding` rows decode: the last step of their slot has drawn their one token and
    left it on the device; it samples the next. The tokens of all other rows are known.
    """

    requests: list[Request]
    columns: np.ndarray  # i32[5, S]: slot, start, num_tokens, samples, logits_from
    num_decoding: int
    table_updates: np.ndarray  # i32[3, U]: slot, column, page
    """The entries of the device's page tables that differ from what the last step left there."""
    restarted: list[Request]
    """Those that took their slot in this step (new, or after a retraction): per-slot state of the
    device begins anew."""
    shared: np.ndarray | None = None  # i32[2, num_decoding]
    """Where it is worth reading once what rows that decode share: the first row of each one's group
    (next to each other), and the tokens that all of the group share, whole pages (0: none)."""

    @classmethod
    def of(
        cls,
        rows: Sequence[Row],
        *,
        num_decoding: int = 0,
        table_updates: np.ndarray | None = None,
        restarted: Sequence[Request] = (),
    ) -> "Batch":
        columns = np.array([row[1:] for row in rows], np.int32).reshape(len(rows), 5).T
        updates = np.zeros((3, 0), np.int32) if table_updates is None else table_updates
        return cls([row.request for row in rows], columns, num_decoding, updates, list(restarted))

    @property
    def rows(self) -> list[Row]:
        """One by one, for whoever is in no hurry."""
        columns = zip(*self.columns.tolist(), strict=True)
        return [
            Row(request, slot, start, num_tokens, bool(samples), logits_from)
            for request, (slot, start, num_tokens, samples, logits_from) in zip(
                self.requests, columns, strict=True
            )
        ]

    @functools.cached_property
    def only_decodes(self) -> bool:
        return self.num_decoding == len(self.requests)

    @functools.cached_property
    def num_tokens(self) -> int:
        return self.num_decoding if self.only_decodes else int(self.columns[2].sum())

    @functools.cached_property
    def num_logits(self) -> int:
        if self.only_decodes:
            return self.num_decoding
        _, starts, counts, _, logits_from = self.columns
        return int((starts + counts - logits_from).sum())


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
    vectors: np.ndarray | None = None  # f32[R, W], of a model that pools


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """counts[0] numbers from starts[0], then counts[1] from starts[1], and so on."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)

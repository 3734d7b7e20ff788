"""What results mean for requests: they gain tokens, and with some of them they end."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sgjax.constrained.matcher import GrammarFault
from sgjax.engine.batch import Batch, Row, StepResults
from sgjax.engine.messages import Logprobs
from sgjax.engine.request import FinishReason, Request
from sgjax.engine.results import (
    NOT_FINITE,
    Drawn,
    Output,
    finish_reason,
    logprobs,
    prompt_logprobs,
)
from sgjax.engine.stats import Stats

_FEWEST_TO_JUMP = 2
"""A single token is drawn by a mask that allows no other: a row that decodes costs least."""


def _to_stop(tokens: list[int], stop_ids: frozenset[int]) -> list[int]:
    """The tokens up to the first that ends the output."""
    for index, token in enumerate(tokens):
        if token in stop_ids:
            return tokens[: index + 1]
    return tokens


def _is_one_more(output: Output) -> bool:
    """Whether it is one token, not the first, and nothing else."""
    if output.finish is not None or output.logprobs is not None:
        return False
    return len(output.token_ids) == 1 < output.request.num_outputs


class _End(Protocol):
    def __call__(self, request: Request, finish: FinishReason, *, keep: bool = True) -> None: ...


class _Owe(Protocol):
    def __call__(self, request: Request) -> None: ...


class Reader:
    """Reads results for the scheduler, whose `end` and `owe` take a request away, and compute
    tokens that were added to one."""

    def __init__(self, stats: Stats, *, end: _End, owe: _Owe, jumps: bool):
        self._stats = stats
        self._end = end
        self._owe = owe
        self._jumps = jumps

    def step(self, batch: Batch, results: StepResults) -> tuple[Drawn, list[Output]]:
        """What the requests of a step gained. Of tokens that were not drawn by the step itself it
        says nothing."""
        tokens = results.tokens.tolist()
        drawn, outputs = self._decoding(batch, results, tokens)
        if not batch.only_decodes:
            outputs += self._others(batch, results, tokens)
        return drawn, outputs

    def drawn(
        self, requests: Sequence[Request], results: StepResults
    ) -> tuple[Drawn, list[Output]]:
        """What requests with grammars gained: a token each, and what it forces."""
        drawn, outputs = Drawn([], []), []
        for entry, request in enumerate(requests):
            if request.finish_reason is not None:
                continue
            output = self._drawn(request, results, entry)
            if _is_one_more(output):
                drawn.requests.append(request)
                drawn.tokens.extend(output.token_ids)
            else:
                outputs.append(output)
        return drawn, outputs

    def fail(self, request: Request, message: str, *, is_own_fault: bool = False) -> FinishReason:
        """Ends a request that cannot go on; the cache keeps nothing that it computed."""
        finish = FinishReason("abort", message=message, failed=True, is_own_fault=is_own_fault)
        self._stats.failed_requests += 1
        self._end(request, finish, keep=False)
        return finish

    def fail_grammar(self, request: Request, fault: str) -> FinishReason:
        """Ends a request whose grammar is too much work."""
        message = f"The grammar cannot go on: {fault.strip().rstrip('.')}. Simplify it."
        return self.fail(request, message, is_own_fault=True)

    def force(self, request: Request) -> tuple[list[int], FinishReason | None]:
        """Adds the tokens that the request's grammar leaves no choice of; and why it ends with
        them, if it does."""
        if not self._jumps or request.grammar is None or request.return_logprob:
            return [], None
        room = request.num_prompt + request.max_new_tokens - request.num_known
        forced = _to_stop(request.grammar.forced()[:room], request.stop_ids)
        if len(forced) < _FEWEST_TO_JUMP:
            return [], None
        request.tokens.extend(forced)
        request.num_forced += len(forced)
        self._stats.generated_tokens += len(forced)
        self._stats.forced_tokens += len(forced)
        finish = self._advance(request, forced)
        if finish is None:
            self._owe(request)
        return forced, finish

    def _drawn(self, request: Request, results: StepResults, entry: int) -> Output:
        token = int(results.tokens[entry])
        own = logprobs(request, results, [token], entry) if request.return_logprob else None
        finish = self._book(request, token)
        if token < 0:
            return Output(request, [], finish)
        forced: list[int] = []
        if finish is None:
            finish = self._advance(request, [token])
        if finish is None:
            forced, finish = self.force(request)
        return Output(request, [token, *forced], finish, own)

    def _advance(self, request: Request, tokens: list[int]) -> FinishReason | None:
        """Tells the request's grammar of its last tokens; why it ends with them, if it does."""
        try:
            request.grammar.advance(tokens)
        except GrammarFault as fault:
            return self.fail_grammar(request, str(fault))
        finish = finish_reason(request, tokens[-1])
        if finish is None and request.grammar.has_ended:
            finish = FinishReason("stop")
        if finish is not None:
            self._finish(request, finish)
        return finish

    def _decoding(
        self, batch: Batch, results: StepResults, tokens: list[int]
    ) -> tuple[Drawn, list[Output]]:
        """The rows that decode have one entry each, the first ones."""
        requests: list[Request] = []
        news: list[int] = []
        outputs: list[Output] = []
        for entry, request in enumerate(batch.requests[: batch.num_decoding]):
            if request.finish_reason is not None or request.grammar is not None:
                continue
            token = tokens[entry]
            finish = self._book(request, token)
            if finish is None and not request.return_logprob:
                requests.append(request)
                news.append(token)
            elif token < 0:
                outputs.append(Output(request, [], finish))
            else:
                own = logprobs(request, results, [token], entry) if request.return_logprob else None
                outputs.append(Output(request, [token], finish, own))
        return Drawn(requests, news), outputs

    def _others(self, batch: Batch, results: StepResults, tokens: list[int]) -> list[Output]:
        outputs: list[Output] = []
        stop = batch.num_decoding
        for row in batch.rows[batch.num_decoding :]:
            first, stop = stop, stop + row.num_logits
            if row.request.finish_reason is not None:
                continue
            if -1 in tokens[first:stop]:
                outputs.append(Output(row.request, [], self.fail(row.request, NOT_FINITE)))
            elif (output := self._read(row, results, tokens, first)) is not None:
                outputs.append(output)
        return outputs

    def _read(self, row: Row, results: StepResults, tokens: list[int], first: int) -> Output | None:
        """Reads a row of known tokens; `first` is its first entry."""
        request, of_prompt, own = row.request, None, None
        if results.vectors is not None:
            return self._book_vector(row, results.vectors, first)
        if row.num_logits > row.samples:
            of_prompt = prompt_logprobs(row, results, first)
            request.num_prompt_logprobs += row.num_logits - row.samples
        if not row.samples or request.grammar is not None:
            return self._book_prompt(row, of_prompt)
        last = first + row.num_logits - 1
        if request.return_logprob:
            own = logprobs(request, results, tokens[last : last + 1], last)
        return Output(
            request, tokens[last : last + 1], self._book(request, tokens[last]), own, of_prompt
        )

    def _book(self, request: Request, token: int) -> FinishReason | None:
        """Gives a request the token that was in flight; why it ends with it, if it does."""
        if token < 0:
            return self.fail(request, NOT_FINITE)
        request.tokens.append(token)
        self._stats.generated_tokens += 1
        finish = finish_reason(request, token)
        if finish is not None:
            self._finish(request, finish)
        return finish

    def _book_vector(self, row: Row, vectors: np.ndarray, entry: int) -> Output | None:
        """Gives a request what the model made of its prompt, which ends it."""
        if not row.num_logits:
            return None
        finish = FinishReason("stop")
        self._finish(row.request, finish)
        return Output(row.request, [], finish, vector=vectors[entry].tobytes())

    def _book_prompt(self, row: Row, of_prompt: Logprobs | None) -> Output | None:
        """A row that gave no token ends its request only if none is wanted."""
        finish = None
        if row.end == row.request.num_prompt and not row.request.max_new_tokens:
            finish = FinishReason("length", length=0)
            self._finish(row.request, finish)
        if finish is None and of_prompt is None:
            return None
        return Output(row.request, [], finish, None, of_prompt)

    def _finish(self, request: Request, finish: FinishReason) -> None:
        self._stats.finished_requests += 1
        self._end(request, finish)

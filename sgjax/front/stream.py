"""One sample's deltas of token ids, as pieces of text."""

import time
from collections.abc import Sequence
from typing import Protocol

from sgjax.engine.messages import Delta, Logprobs, Submit
from sgjax.engine.request import FinishReason
from sgjax.errors import InvalidRequest, RequestFailed
from sgjax.front.piece import Piece, first_entries
from sgjax.text import TextStream, Tokenizer


class Observer(Protocol):
    """Told of what happens, for metrics. Called once a delta, not once a token."""

    def saw_first_token(self, since_submit_s: float) -> None: ...

    def saw_next_tokens(self, since_last_s: float, num_tokens: int) -> None: ...

    def saw_end(self, since_submit_s: float, reason: str) -> None: ...


class SampleStream:
    """Turns a sample's deltas into pieces of text, cut at stop strings: the first token comes at
    once, then a piece every `interval` tokens."""

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        submit: Submit,
        observer: Observer | None = None,
        *,
        interval: int = 1,
        shown_tokens: Sequence[str] = (),
    ):
        self._text = tokenizer and TextStream(tokenizer, submit.params, shown_tokens=shown_tokens)
        self._prompt_start = _unpredicted(submit)
        self._clock = None if observer is None else _Clock(observer)
        self._interval = interval
        self._num_wanted = 1
        """Tokens of the next piece, at least."""
        self._held: Piece | None = None

    def take(self, delta: Delta) -> Piece | None:
        """The next piece, if it is due. Raises RequestFailed if the engine failed on it."""
        piece = self._piece(delta)
        if self._clock is not None:
            self._clock.tick(len(piece.token_ids), piece.finish)
        if self._held is not None:
            self._held.extend(piece)
            piece = self._held
        if piece.finish is None and len(piece.token_ids) < self._num_wanted:
            self._held = piece
            return None
        self._held, self._num_wanted = None, self._interval
        return piece

    def _piece(self, delta: Delta) -> Piece:
        """The delta as text; a stop token at its end is trimmed."""
        text, ids, finish, logprobs = "", delta.token_ids, delta.finish, delta.logprobs
        if finish is not None and finish.failed:
            kind = InvalidRequest if finish.is_own_fault else RequestFailed
            raise kind(finish.message or "The engine failed on this request.")
        if self._text is not None:
            is_stop_token = finish is not None and isinstance(finish.matched, int)
            text, count, stop = self._text.feed(ids, ends_with_stop_token=is_stop_token)
            if finish is not None:
                text += self._text.finish()
            if stop is not None:
                finish = FinishReason("stop", matched=stop)
                ids, logprobs = ids[:count], logprobs and first_entries(logprobs, count)
        counts = delta.num_cached, delta.num_retractions, delta.num_forced
        piece = Piece(text, ids, finish, logprobs, None, *counts, vector=delta.vector)
        for of_prompt in (self._prompt_start, delta.prompt_logprobs):
            if of_prompt is not None:
                piece.add_prompt_logprobs(of_prompt)
        self._prompt_start = None
        return piece


def _unpredicted(submit: Submit) -> Logprobs | None:
    """The entry of the prompt's first token, where logprobs are wanted from there: nothing
    predicts it, and the engine speaks only of what comes after."""
    if submit.logprob_start != 0:
        return None
    return Logprobs([submit.prompt_ids[0]], [None], [[]] if submit.top_logprobs else None)


class _Clock:
    def __init__(self, observer: Observer):
        self._observer = observer
        self._start = time.monotonic()
        self._last: float | None = None

    def tick(self, num_tokens: int, finish: FinishReason | None) -> None:
        now = time.monotonic()
        if num_tokens:
            if self._last is None:
                self._observer.saw_first_token(now - self._start)
            else:
                self._observer.saw_next_tokens(now - self._last, num_tokens)
            self._last = now
        if finish is not None:
            self._observer.saw_end(now - self._start, finish.type)

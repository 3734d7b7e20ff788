"""One sample's deltas of token ids, as pieces of text."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, cast

from sgjax.engine.client import EngineClient
from sgjax.engine.messages import Delta, Logprobs, Submit
from sgjax.engine.request import FinishReason
from sgjax.errors import RequestFailed
from sgjax.front.piece import Piece, first_entries
from sgjax.text import TextStream, Tokenizer


class Observer(Protocol):
    """Told of what happens, for metrics. Called once a delta, not once a token."""

    def saw_first_token(self, since_submit_s: float) -> None: ...

    def saw_next_tokens(self, since_last_s: float, num_tokens: int) -> None: ...

    def saw_end(self, since_submit_s: float, reason: str) -> None: ...


async def pieces_of(
    client: EngineClient,
    tokenizer: Tokenizer | None,
    submit: Submit,
    observer: Observer | None = None,
    *,
    interval: int,
) -> AsyncGenerator[Piece, None]:
    """Runs one sample. The first token comes at once, then a piece every `interval` tokens.

    A stop string ends the engine's request; closing the generator does too.
    """
    output = _Output(tokenizer, submit)
    clock = _Clock(observer)
    held: Piece | None = None
    is_first = True
    async with aclosing(cast(AsyncGenerator[Delta, None], client.generate(submit))) as deltas:
        async for delta in deltas:
            piece = output.take(delta)
            clock.tick(len(piece.token_ids), piece.finish)
            if held is None:
                held = piece
            else:
                held.extend(piece)
            if piece.finish or len(held.token_ids) >= (1 if is_first else interval):
                yield held
                is_first, held = False, None
            if piece.finish:
                return
    raise RequestFailed(f"The engine ended request {submit.rid} without a finish reason.")


class _Output:
    """Turns deltas into pieces: decodes, cuts at stop strings, trims the stop token."""

    def __init__(self, tokenizer: Tokenizer | None, submit: Submit):
        self._stream = tokenizer and TextStream(tokenizer, submit.params)
        self._prompt_start = _unpredicted(submit)

    def take(self, delta: Delta) -> Piece:
        """Raises RequestFailed for a delta that ends with a failure of the engine."""
        finish = delta.finish
        if finish is not None and finish.failed:
            raise RequestFailed(finish.message or "The engine failed on this request.")
        text, count = "", len(delta.token_ids)
        if self._stream is not None:
            is_stop_token = finish is not None and isinstance(finish.matched, int)
            gained = self._stream.feed(delta.token_ids, ends_with_stop_token=is_stop_token)
            text, count = gained.text, gained.num_tokens_used
            if finish is not None:
                text += self._stream.finish()
            if self._stream.stopped_by is not None:
                finish = FinishReason("stop", matched=self._stream.stopped_by)
        piece = Piece(
            text,
            delta.token_ids[:count],
            finish,
            delta.logprobs and first_entries(delta.logprobs, count),
            self._prompt_start,
            delta.num_cached,
            delta.num_retractions,
        )
        piece.add_prompt_logprobs(delta.prompt_logprobs)
        self._prompt_start = None
        return piece


def _unpredicted(submit: Submit) -> Logprobs | None:
    """The entry of the prompt's first token, where logprobs are wanted from there: nothing
    predicts it, and the engine speaks only of what comes after."""
    if submit.logprob_start != 0:
        return None
    return Logprobs(submit.prompt_ids[:1], [None], [[]] if submit.top_logprobs else None)


class _Clock:
    def __init__(self, observer: Observer | None):
        self._observer = observer
        self._start = time.monotonic()
        self._last: float | None = None

    def tick(self, num_tokens: int, finish: FinishReason | None) -> None:
        if self._observer is None:
            return
        now = time.monotonic()
        if num_tokens and self._last is None:
            self._observer.saw_first_token(now - self._start)
        elif num_tokens and self._last is not None:
            self._observer.saw_next_tokens(now - self._last, num_tokens)
        self._last = now if num_tokens else self._last
        if finish is not None:
            self._observer.saw_end(now - self._start, finish.type)

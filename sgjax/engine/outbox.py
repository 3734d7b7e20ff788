"""What the engine tells the front after a step, and what it keeps for the end."""

from collections.abc import Sequence

from sgjax.engine.messages import Delta, Event, Tokens
from sgjax.engine.request import Request
from sgjax.engine.results import Drawn, Output


class Outbox:
    """Tokens are told as they come; of a request that is not streamed only the first, and all the
    others at its end: a front that has nothing to do in most steps does not slow the engine down.

    (A request with logprobs is always told as it comes: they are not kept.)
    """

    def __init__(self) -> None:
        self._num_told: dict[Request, int] = {}  # outputs, of requests that are not streamed

    def news(self, drawn: Drawn, outputs: Sequence[Output]) -> list[Event]:
        """The events for what a step gave."""
        events: list[Event] = [self._delta(output) for output in outputs if self._is_news(output)]
        told = [
            (request.rid, token)
            for request, token in zip(drawn.requests, drawn.tokens, strict=True)
            if request.is_streamed
        ]
        if told:
            rids, tokens = zip(*told, strict=True)
            events.append(Tokens(list(rids), list(tokens)))
        return events

    def _is_news(self, output: Output) -> bool:
        """Whether it is more than some more tokens of a request that is not streamed."""
        request = output.request
        if output.finish is not None or output.prompt_logprobs is not None:
            return True
        return _is_told_all(request) or request not in self._num_told

    def last(self, request: Request) -> Delta:
        """For a request that ended between steps."""
        return Delta(
            rid=request.rid,
            token_ids=[] if _is_told_all(request) else self._rest(request),
            finish=request.finish_reason,
            num_cached=request.num_cached,
            num_retractions=request.num_retractions,
            num_forced=request.num_forced,
        )

    def _delta(self, output: Output) -> Delta:
        request = output.request
        return Delta(
            rid=request.rid,
            token_ids=output.token_ids if _is_told_all(request) else self._rest(request),
            finish=output.finish,
            logprobs=output.logprobs,
            prompt_logprobs=output.prompt_logprobs,
            vector=output.vector,
            num_cached=request.num_cached,
            num_retractions=request.num_retractions,
            num_forced=request.num_forced,
        )

    def _rest(self, request: Request) -> list[int]:
        """Its outputs that were not told."""
        told = self._num_told.pop(request, 0)
        if request.finish_reason is None:
            self._num_told[request] = request.num_outputs
        return request.tokens[request.num_prompt + told :].tolist()


def _is_told_all(request: Request) -> bool:
    return request.is_streamed or request.return_logprob

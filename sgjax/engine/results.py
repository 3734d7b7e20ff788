"""What the results of a step mean for one of its rows."""

from typing import NamedTuple

from sgjax.engine.batch import Row, StepResults
from sgjax.engine.messages import Logprobs
from sgjax.engine.request import FinishReason, Request


class Drawn(NamedTuple):
    """Requests that gained one token in a step, and nothing else: most of those that decode."""

    requests: list[Request]
    tokens: list[int]


class Output(NamedTuple):
    """What another request gained in a step."""

    request: Request
    token_ids: list[int]
    finish: FinishReason | None = None
    logprobs: Logprobs | None = None
    """Of `token_ids`, if asked for."""
    prompt_logprobs: Logprobs | None = None
    """Of the prompt tokens that follow those reported before: from logprob_start + 1 on."""
    vector: bytes = b""
    """Of the prompt, if it is pooled."""


NOT_FINITE = (
    "The model's logits for this request held NaN or infinity, so no token can be drawn. If it "
    "happens again, serve with --dtype float32 or check the checkpoint."
)


def finish_reason(request: Request, token: int) -> FinishReason | None:
    """Why the request ends with `token`, its last output, or None: it goes on."""
    if len(request.tokens) > request.num_needed:
        return FinishReason("length", length=request.num_outputs)
    if token in request.stop_ids:
        return FinishReason("stop", matched=token)
    return None


def prompt_logprobs(row: Row, results: StepResults, first: int) -> Logprobs:
    """Those of the prompt tokens that the row's logits tell of; `first` is its first entry."""
    count = row.num_logits - row.samples
    target = row.logits_from + 1
    tokens = row.request.tokens[target : target + count].tolist()
    return logprobs(row.request, results, tokens, first)


def logprobs(request: Request, results: StepResults, tokens: list[int], first: int) -> Logprobs:
    """The logprobs of `tokens`, the targets of the entries from `first` on."""
    assert results.logprobs is not None, "a step of this request computes logprobs"
    part = slice(first, first + len(tokens))
    top = None
    if request.top_logprobs:
        assert results.top_logprobs is not None and results.top_ids is not None
        values = results.top_logprobs[part, : request.top_logprobs].tolist()
        ids = results.top_ids[part, : request.top_logprobs].tolist()
        top = [list(zip(*pair, strict=True)) for pair in zip(values, ids, strict=True)]
    return Logprobs(tokens, results.logprobs[part].tolist(), top)

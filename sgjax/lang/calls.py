"""A `gen` of a program as a call of the backend."""

from collections.abc import Mapping, Sequence
from typing import Any

from sgjax.errors import RequestAborted
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.expressions import Gen

Defaults = Mapping[str, Any]
"""Sampling parameters that a run says, by SGLang's names."""

LOGPROB_FIELDS = (
    "return_logprob",
    "logprob_start_len",
    "top_logprobs_num",
    "return_text_in_logprobs",
)


def call_of(gen: Gen, defaults: Defaults, more_stops: Sequence[str]) -> Call:
    """What the gen says nothing of is as the run says. Stops of its type, and `more_stops`, come
    behind those that are given."""
    params, stops = gen.constrained()
    merged = {**defaults, **params}
    if more := (*stops, *more_stops):
        merged["stop"] = list(dict.fromkeys((*_texts(merged.get("stop")), *more)))
    logprobs = {name: merged.pop(name) for name in LOGPROB_FIELDS if name in merged}
    return Call(merged, {**logprobs, **gen.logprobs}, gen.dtype)


def check_whole(answer: Answer) -> None:
    """Raises RequestAborted for an answer that was cut off: it is not what the model says."""
    finish = answer.meta_info.get("finish_reason")
    if isinstance(finish, Mapping) and finish.get("type") == "abort":
        raise RequestAborted(f"The call was aborted: {finish.get('message') or 'it was ended'}.")


def check_ended(answer: Answer) -> None:
    """Raises RequestAborted for a stream's last piece that does not say why it is the last: it was
    cut on its way."""
    if answer.meta_info.get("finish_reason", True) is None:
        raise RequestAborted("The backend's stream ended before the answer did.")


def _texts(stop: str | Sequence[str] | None) -> Sequence[str]:
    return [stop] if isinstance(stop, str) else stop or ()

"""SGLang's own form of requests and answers, for `Engine.generate` and POST /generate."""

import dataclasses
import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from sgjax.engine.messages import Logprobs
from sgjax.errors import InvalidRequest
from sgjax.front.generator import Sample
from sgjax.front.piece import Piece
from sgjax.front.request import GenerationRequest
from sgjax.sampling_params import SamplingParams
from sgjax.text import Tokenizer

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON has no word for."""


@dataclasses.dataclass(frozen=True, slots=True)
class NativeCall:
    """The requests of one call, and the form of its answer."""

    requests: list[GenerationRequest]
    is_list: bool
    """Whether the answer is a list: a batch came, or n > 1."""


def read_call(
    prompts: str | Sequence[str] | None,
    input_ids: Sequence[int] | Sequence[Sequence[int]] | None,
    sampling_params: Any = None,
    *,
    rid: str | Sequence[str] | None = None,
    return_logprob: bool | Sequence[bool] | None = None,
    logprob_start_len: int | Sequence[int] | None = None,
    top_logprobs_num: int | Sequence[int] | None = None,
    cache_salt: str = "",
) -> NativeCall:
    """Brings a call with scalars and lists to a request per prompt; scalars hold for all of them.

    Raises:
        InvalidRequest: there is not exactly one of text and ids, or the lengths of lists differ.
    """
    given, is_batch = _read_prompts(prompts, input_ids)
    count = len(given)
    given_params = _spread("sampling_params", sampling_params, count, default={})
    params = [_read_params(value) for value in given_params]
    rids = _spread_rids(rid, count)
    wants = _spread("return_logprob", return_logprob, count, default=False)
    starts = _spread("logprob_start_len", logprob_start_len, count, default=-1)
    tops = _spread("top_logprobs_num", top_logprobs_num, count, default=0)
    requests = [
        GenerationRequest(
            prompt=given[i],
            params=params[i],
            rid=rids[i],
            return_logprob=wants[i],
            logprob_start=None if starts[i] == -1 else starts[i],
            top_logprobs=tops[i],
            cache_salt=cache_salt,
            overflow="cut",
        )
        for i in range(count)
    ]
    return NativeCall(requests, is_batch or any(each.n > 1 for each in params))


_UNSUPPORTED = ("stop_regex", "custom_params")
_IGNORED = ("stream_interval",)
_OTHER_NAMES = {"sampling_seed": "seed"}


def _read_params(value: Any) -> SamplingParams:
    """SGLang's clients name all parameters that they know, with null for those not set."""
    if isinstance(value, SamplingParams):
        return value
    if not isinstance(value, Mapping):
        raise InvalidRequest(
            f"sampling_params must be an object, not {type(value).__name__}.",
            param="sampling_params",
        )
    said: dict[str, Any] = {}
    for name, each in value.items():
        if name in _UNSUPPORTED and each:
            raise InvalidRequest(f"{name} is not supported yet. Leave it out.", param=name)
        if name not in _UNSUPPORTED and name not in _IGNORED:
            said[_OTHER_NAMES.get(name) or name] = each
    return SamplingParams.from_dict(said)


def _read_prompts(prompts: Any, input_ids: Any) -> tuple[list[Any], bool]:
    """The prompts, and whether a batch was given."""
    if (prompts is None) == (input_ids is None):
        raise InvalidRequest("Either text or input_ids should be provided, and not both.")
    if isinstance(prompts, str):
        return [prompts], False
    name, value = ("text", prompts) if input_ids is None else ("input_ids", input_ids)
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        what = "a string or a list of strings" if name == "text" else "a list of ids, or of lists"
        raise InvalidRequest(f"{name} must be {what}, and not empty.", param=name)
    if name == "text":
        if not all(isinstance(text, str) for text in value):
            raise InvalidRequest("text must be a string or a list of strings.", param=name)
        return list(value), True
    if isinstance(value[0], Sequence) and not isinstance(value[0], str):
        return [_ids(ids) for ids in value], True
    return [_ids(value)], False


def _ids(value: Any) -> Sequence[int]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidRequest(
            "input_ids must be a list of token ids, or a list of such lists.", param="input_ids"
        )
    return value if isinstance(value, array) else list(value)


def _spread(name: str, value: Any, count: int, *, default: Any) -> list[Any]:
    """One value for each prompt."""
    if value is None:
        value = default
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        return [value] * count
    if len(value) != count:
        raise InvalidRequest(
            f"{name} has {len(value)} entries, but there are {count} prompts. Give one for all, or "
            "one for each.",
            param=name,
        )
    return [default if each is None else each for each in value]


def _spread_rids(rid: str | Sequence[str] | None, count: int) -> list[str | None]:
    """A single name is shared by the whole batch: an abort of it ends all."""
    rids = _spread("rid", rid, count, default=None)
    if not isinstance(rid, str) and rid is not None and len(set(rids)) < count:
        raise InvalidRequest("rid must name each prompt of a batch differently.", param="rid")
    return rids


class Answer:
    """One sample's answer, as it grows: SGLang's dict of text, output_ids and meta_info."""

    def __init__(self, sample: Sample, tokenizer: Tokenizer | None, *, has_logprob_text: bool):
        self._sample = sample
        self._tokenizer = tokenizer
        self._whole = Piece("", [])
        self._names = tokenizer if has_logprob_text else None

    def add(self, piece: Piece) -> None:
        self._whole.extend(piece)

    def to_dict(self, index: int) -> dict[str, Any]:
        """All there is so far. `finish_reason` is None until the end."""
        whole = self._whole
        out: dict[str, Any] = {} if self._tokenizer is None else {"text": whole.text}
        return out | {
            "output_ids": list(whole.token_ids),
            "meta_info": self._meta_info(),
            "index": index,
        }

    def _meta_info(self) -> dict[str, Any]:
        whole, submit = self._whole, self._sample.submit
        info: dict[str, Any] = {
            "id": self._sample.rid,
            "finish_reason": whole.finish and whole.finish.to_dict(),
            "prompt_tokens": len(submit.prompt_ids),
            "completion_tokens": len(whole.token_ids),
            "cached_tokens": whole.num_cached,
            "num_retractions": whole.num_retractions,
        }
        if submit.grammar is not None:
            info["forced_tokens"] = whole.num_forced
            info["completion_tokens_wo_jump_forward"] = len(whole.token_ids) - whole.num_forced
        if submit.return_logprob:
            info |= self._logprob_info()
        return info

    def _logprob_info(self) -> dict[str, Any]:
        whole = self._whole
        info: dict[str, Any] = {
            "input_token_logprobs": self._triples(whole.prompt_logprobs),
            "output_token_logprobs": self._triples(whole.logprobs),
            "normalized_prompt_logprob": _mean(whole.prompt_logprobs),
        }
        if self._sample.submit.top_logprobs:
            info["input_top_logprobs"] = self._tops(whole.prompt_logprobs)
            info["output_top_logprobs"] = self._tops(whole.logprobs)
        return info

    def _triples(self, logprobs: Logprobs | None) -> list[tuple[float | None, int, str | None]]:
        if logprobs is None:
            return []
        pairs = zip(logprobs.logprobs, logprobs.tokens, strict=True)
        return [self._triple(logprob, token) for logprob, token in pairs]

    def _tops(self, logprobs: Logprobs | None) -> list[Any]:
        """Per token the likeliest ones; None for a prompt's first token, which nothing predicts."""
        if logprobs is None or logprobs.top is None:
            return []
        return [
            None if own is None else [self._triple(logprob, token) for logprob, token in top]
            for own, top in zip(logprobs.logprobs, logprobs.top, strict=True)
        ]

    def _triple(self, logprob: float | None, token: int) -> tuple[float | None, int, str | None]:
        text = self._names and self._names.token_text(token)
        return finite(logprob), token, text


def finite(logprob: float | None) -> float | None:
    """A logprob that JSON can say."""
    if logprob is None or math.isfinite(logprob):
        return logprob
    return LEAST_LOGPROB


def _mean(logprobs: Logprobs | None) -> float | None:
    values = [value for value in (logprobs.logprobs if logprobs else ()) if value is not None]
    return finite(sum(values) / len(values)) if values else None

"""What completions and chat have in common: parameters, usage, finish reasons, ids, logprobs."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sgjax.engine.messages import Logprobs
from sgjax.engine.request import FinishReason
from sgjax.errors import InvalidRequest
from sgjax.front.generator import Generation
from sgjax.front.native import finite
from sgjax.front.piece import Piece
from sgjax.sampling_params import SamplingParams
from sgjax.text import Tokenizer
from sgjax_server.constraints import read_constraint
from sgjax_server.protocol import SamplingBody
from sgjax_server.reasoning.count import ThoughtCount

_SHARED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "seed",
    "stop",
    "stop_token_ids",
    "ignore_eos",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "no_stop_trim",
    "n",
)


def read_params(
    body: SamplingBody, defaults: Mapping[str, float], max_new_tokens: int | None
) -> SamplingParams:
    """The sampling parameters of a request; `defaults` hold where it says nothing."""
    said = {name: getattr(body, name) for name in _SHARED if getattr(body, name) is not None}
    minimum = {} if body.min_tokens is None else {"min_new_tokens": body.min_tokens}
    return SamplingParams.from_dict(
        {
            **defaults,
            **said,
            **minimum,
            **read_constraint(body),
            "max_new_tokens": max_new_tokens,
        }
    )


def check_stream_options(body: SamplingBody) -> None:
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest(
            "stream_options is only for streams: set stream to true, or leave it out.",
            param="stream_options",
        )


def new_id(body: SamplingBody, prefix: str) -> str:
    return body.rid or f"{prefix}-{uuid.uuid4().hex}"


class Usage:
    """Counts tokens as the pieces of a generation come."""

    def __init__(
        self,
        generation: Generation,
        *,
        reports_cache: bool,
        thoughts: Sequence[ThoughtCount] = (),
    ):
        """`thoughts`: of each sample, where it is known which tokens are thoughts."""
        self._thoughts = thoughts
        self._prompt_tokens = sum(len(prompt.ids) for prompt in generation.prompts)
        self._reports_cache = reports_cache
        self._prompts = [id(sample.prompt) for sample in generation.samples]
        self._cached: dict[int, int] = {}
        self._completion_tokens = 0

    def add(self, index: int, piece: Piece) -> None:
        self._completion_tokens += len(piece.token_ids)
        self._cached.setdefault(self._prompts[index], piece.num_cached)
        if self._thoughts:
            self._thoughts[index].add(piece.token_ids)

    def to_dict(self) -> dict[str, Any]:
        """A prompt counts once, however many samples it has."""
        usage: dict[str, Any] = {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
        }
        if self._reports_cache:
            usage["prompt_tokens_details"] = {"cached_tokens": sum(self._cached.values())}
        if self._thoughts:
            num_thoughts = sum(thoughts.total() for thoughts in self._thoughts)
            usage["completion_tokens_details"] = {"reasoning_tokens": num_thoughts}
        return usage


def finish_fields(finish: FinishReason | None) -> dict[str, Any]:
    """`finish_reason`, and SGLang's `matched_stop` beside it at the end."""
    if finish is None:
        return {"finish_reason": None}
    return {"finish_reason": finish.type, "matched_stop": finish.matched}


def chat_logprobs(logprobs: Logprobs | None, tokenizer: Tokenizer) -> dict[str, Any] | None:
    """Chat's form: an entry a token, with its bytes and the likeliest others."""
    if logprobs is None:
        return None
    tops: Sequence[Any] = logprobs.top or [()] * len(logprobs.tokens)
    return {
        "content": [
            _entry(token, logprob, tokenizer)
            | {"top_logprobs": [_entry(other, value, tokenizer) for value, other in top]}
            for token, logprob, top in zip(logprobs.tokens, logprobs.logprobs, tops, strict=True)
        ]
    }


def _entry(token: int, logprob: float | None, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "token": tokenizer.token_text(token),
        "logprob": finite(logprob),
        "bytes": list(tokenizer.token_bytes(token)),
    }


class CompletionLogprobs:
    """Completions' older form: parallel lists, with each token's place in the text."""

    def __init__(self, tokenizer: Tokenizer, *, skip_special_tokens: bool, starts_text: bool):
        """`starts_text`: the first token is the first of the text, as with echo."""
        self._tokenizer = tokenizer
        self._offset = 0
        self._text = tokenizer.stream(
            skip_special_tokens=skip_special_tokens, is_continuation=not starts_text
        )

    def to_dict(self, *parts: Logprobs | None) -> dict[str, Any]:
        """Of the tokens that follow those of the last call."""
        out: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for part in parts:
            for index, token in enumerate(part.tokens if part else ()):
                assert part is not None
                logprob = finite(part.logprobs[index])
                out["tokens"].append(self._tokenizer.token_text(token))
                out["token_logprobs"].append(logprob)
                out["top_logprobs"].append(self._top(part, index, logprob))
                out["text_offset"].append(self._offset)
                self._offset += len(self._text.feed((token,)))
        return out

    def _top(self, part: Logprobs, index: int, logprob: float | None) -> dict[str, float] | None:
        """The likeliest and the token itself, by text; of equal texts the likeliest counts."""
        if logprob is None:
            return None
        pairs = [(logprob, part.tokens[index]), *(part.top[index] if part.top else ())]
        found: dict[str, float] = {}
        for value, token in pairs:
            text = self._tokenizer.token_text(token)
            found[text] = max(found.get(text, -float("inf")), finite(value) or 0.0)
        return found

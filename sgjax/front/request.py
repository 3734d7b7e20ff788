"""What a caller asks for, and whether it fits."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Literal

from sgjax.engine.messages import EngineInfo
from sgjax.errors import ContextTooLong, InvalidRequest, NeverFits
from sgjax.sampling_params import MAX_TOP_LOGPROBS, SamplingParams

MAX_RID_CHARS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One prompt, and how to go on from it `params.n` times."""

    prompt: str | Sequence[int]
    params: SamplingParams = dataclasses.field(default_factory=SamplingParams)
    rid: str | None = None
    """Its name, for aborts; None: a new one."""
    return_logprob: bool = False
    logprob_start: int | None = None
    """Prompt logprobs are wanted of the tokens after this index; None: of none."""
    top_logprobs: int = 0
    cache_salt: str = ""
    add_special_tokens: bool = True
    """Whether the tokenizer may put a BOS before text; a chat template brings its own."""
    shown_tokens: tuple[str, ...] = ()
    """Special tokens whose text is wanted even where special tokens are skipped."""
    is_pooled: bool = False
    """Whether a vector is wanted of the prompt, of a model that gives these, and no text."""
    second: str | None = None
    """The other text of a pair, for a vector of both; the prompt is text, too, then."""
    grammar_after: str | None = None
    """What binds the output begins after this text, the end of a model's thinking."""
    overflow: Literal["refuse", "cut"] = "refuse"
    """What becomes of max_new_tokens past the end of the context: an error, or cut to it (the
    finish reason is then "length")."""


def check_params(request: GenerationRequest, num_prompt: int, vocab_size: int) -> None:
    """Checks what SamplingParams cannot: ids against the vocabulary, indices against the prompt."""
    params = request.params
    for name, ids in (("stop_token_ids", params.stop_token_ids), ("logit_bias", params.logit_bias)):
        if ids and max(ids) >= vocab_size:
            raise InvalidRequest(
                f"{name} has token id {max(ids)}, but this model's ids are 0 to {vocab_size - 1}.",
                param=name,
            )
    _check_count("top_logprobs", request.top_logprobs, MAX_TOP_LOGPROBS)
    if request.logprob_start is not None:
        _check_count("logprob_start_len", request.logprob_start, num_prompt - 1)


def _check_count(name: str, value: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise InvalidRequest(
            f"{name} must be an integer in [0, {high}], not {value!r}.", param=name
        )


def fit(request: GenerationRequest, num_prompt: int, info: EngineInfo) -> SamplingParams:
    """The request's parameters, with max_new_tokens made to fit the context and the cache.

    Raises:
        ContextTooLong: the prompt, or what was asked for in all, is longer than the context.
        NeverFits: the same of the cache.
    """
    params = request.params
    if request.is_pooled:
        _check_pooled(num_prompt, info)
        return dataclasses.replace(params, max_new_tokens=0)
    asked = params.max_new_tokens
    cuts = request.overflow == "cut" or asked is None
    least = 1 if cuts or not asked else asked
    if num_prompt + least > info.context_length:
        raise ContextTooLong(num_prompt, info.context_length, num_new=least, param="prompt")
    num_cached = num_prompt + least - 1  # of the last output nothing is cached
    if num_cached > info.max_total_tokens:
        raise NeverFits(num_cached, info.max_total_tokens)
    if not cuts:
        return params
    room = min(info.context_length, info.max_total_tokens + 1) - num_prompt
    max_new = room if asked is None else min(asked, room)
    return dataclasses.replace(
        params, max_new_tokens=max_new, min_new_tokens=min(params.min_new_tokens, max_new)
    )


def _check_pooled(num_prompt: int, info: EngineInfo) -> None:
    if num_prompt > info.context_length:
        raise ContextTooLong(num_prompt, info.context_length, param="input")
    if num_prompt > info.max_total_tokens:
        raise NeverFits(num_prompt, info.max_total_tokens)


def check_task(info: EngineInfo, *, is_pooled: bool) -> None:
    """Raises InvalidRequest where the model does not do what is asked for."""
    if is_pooled and info.task == "generate":
        raise InvalidRequest(
            "This model generates text and has no embeddings. Serve a model made for embeddings, "
            "or this one with --is-embedding.",
            param="model",
        )
    if not is_pooled and info.task != "generate":
        routes = "/v1/embeddings" if info.task == "embed" else "/classify and /v1/rerank"
        raise InvalidRequest(
            f"This model generates no text: it is served to {info.task}. Ask {routes}.",
            param="model",
        )


def seed_of_sample(seed: int | None, index: int) -> int | None:
    """The seed of the index-th sample of a request: its own for the first, then derived ones."""
    if seed is None or index == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)

"""Programs on an Engine in this process: no HTTP, and the tokens that the model made are kept."""

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from sgjax.errors import ConfigError, InvalidProgram
from sgjax.front.files import chat_template_of
from sgjax.front.loop_thread import LoopThread
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.chat_template import (
    ChatTemplate,
    get_chat_template_by_model_path,
    template_of_texts,
)
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod, mean_logprob, wants_unconditional
from sgjax.lang.transcript import Segment, Transcript
from sgjax.text import Tokenizer
from sgjax.text.role_texts import bos_of, role_texts

if TYPE_CHECKING:
    from sgjax.front.engine import Engine

_LONG_TEXT = 20_000
"""Characters from which a text is tokenised in a thread: other programs go on meanwhile."""


class EngineBackend:
    """A backend that is an Engine."""

    def __init__(self, engine: "Engine"):
        """Raises ConfigError for one without a tokenizer."""
        if engine.tokenizer is None:
            raise ConfigError(
                "Programs are texts, but this Engine was started with skip_tokenizer_init."
            )
        self._engine = engine
        self._tokenizer: Tokenizer = engine.tokenizer

    @property
    def loop(self) -> LoopThread:
        return self._engine.loop

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    @property
    def chat_template(self) -> ChatTemplate:
        """As the checkpoint's template has it; where that cannot be taken apart, by the model's
        name."""
        return self._chat_template

    @functools.cached_property
    def _chat_template(self) -> ChatTemplate:
        path = self._engine.config.model_path
        template = chat_template_of(self._engine.config)
        if template is not None:
            found = role_texts(template, bos=bos_of(self._tokenizer))
            if found is not None:
                return template_of_texts(path, found.texts, found.opening, template.stops)
        return get_chat_template_by_model_path(path)

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        ids = await self._ids(transcript)
        out = await self._engine.answer(
            input_ids=ids, sampling_params=self._params(call.params), **call.logprobs
        )
        return _answer(out)

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        ids = await self._ids(transcript)
        outputs = self._engine.answers(
            input_ids=ids, sampling_params=self._params(call.params), **call.logprobs
        )
        async with aclosing(outputs):
            async for out in outputs:
                yield _answer(out)

    async def select(
        self,
        transcript: Transcript,
        choices: Sequence[str],
        *,
        method: ChoicesMethod,
        temperature: float,
    ) -> ChoicesDecision:
        """All choices in one call: the engine computes what they share once."""
        before = await self._ids(transcript)
        whole = []
        for choice in choices:
            extended = transcript.copy()
            extended.append(choice)
            whole.append(await self._ids(extended))
        starts = [_num_shared(before, ids) for ids in whole]
        scored = await self._score(whole, starts)
        alone = None
        if wants_unconditional(method):
            tails = [ids[start:] for ids, start in zip(whole, starts, strict=True)]
            alone = await self._score(tails, [0] * len(tails))
        return method(
            choices=choices,
            normalized_prompt_logprobs=[mean_logprob(tokens) for tokens in scored],
            input_token_logprobs=scored,
            output_token_logprobs=[[] for _ in choices],
            unconditional_token_logprobs=alone,
        )

    async def cache_prefix(self, text: str) -> None:
        ids = await self._encode(text, is_first=True)
        await self._engine.answer(input_ids=ids, sampling_params={"max_new_tokens": 0})

    async def before_fork(self, transcript: Transcript) -> None:
        """Nothing: what requests share is computed once, though they come together."""

    def speculating(self, num_tokens: int) -> "EngineBackend":
        raise InvalidProgram(
            "num_api_spec_tokens saves calls of an API that is paid by the call; an Engine shares "
            "what calls have in common. Leave it out."
        )

    def end_role(self, transcript: Transcript) -> None:
        """Nothing."""

    def flush_cache(self) -> bool:
        return self._engine.flush_cache()

    def get_server_info(self) -> dict[str, Any]:
        return self._engine.get_server_info()

    def shutdown(self) -> None:
        self._engine.shutdown()

    async def _score(
        self, prompts: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[list[Any]]:
        """The logprobs of prompts' tokens, from a place on."""
        outs = await self._engine.answer(
            input_ids=prompts,
            sampling_params={"max_new_tokens": 0},
            return_logprob=True,
            # From a place on there are those of the tokens behind it.
            logprob_start_len=[max(start - 1, 0) for start in starts],
            return_text_in_logprobs=True,
        )
        found = [out["meta_info"]["input_token_logprobs"] for out in outs]
        return [
            tokens[start - len(prompt) :]
            for tokens, prompt, start in zip(found, prompts, starts, strict=True)
        ]

    def _params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Stops that are special tokens have no text that could be seen: they are given as ids."""
        stops = params.get("stop") or ()
        stops = [stops] if isinstance(stops, str) else stops
        added = self._tokenizer.added_tokens
        tokens = [added[stop] for stop in stops if stop in added]
        if not tokens:
            return dict(params)
        return {
            **params,
            "stop": [stop for stop in stops if stop not in added],
            "stop_token_ids": [*(params.get("stop_token_ids") or ()), *tokens],
        }

    async def _ids(self, transcript: Transcript) -> list[int]:
        """The transcript's tokens: the model's own as they were, the program's texts between them.
        Up to the model's last they are kept with the transcript."""
        count, ids = transcript.memo or (0, [])
        ids = list(ids)
        text: list[Segment] = []
        for index, segment in enumerate(transcript.segments[count:], count):
            if segment.ids is None:
                text.append(segment)
                continue
            ids += await self._encode(_joined(text), is_first=not ids)
            ids += segment.ids
            text.clear()
            transcript.memo = index + 1, list(ids)
        return ids + await self._encode(_joined(text), is_first=not ids)

    async def _encode(self, text: str, *, is_first: bool) -> list[int]:
        if not (text or is_first):
            return []
        bos = self._tokenizer.bos_token
        wants_bos = is_first and not (bos and text.startswith(bos))
        if len(text) > _LONG_TEXT:
            return await asyncio.to_thread(self._tokenizer.encode, text, wants_bos)
        return self._tokenizer.encode(text, wants_bos)


def _joined(segments: Sequence[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def _answer(out: Mapping[str, Any]) -> Answer:
    ids: Sequence[int] | None = out["output_ids"]
    finish = out["meta_info"]["finish_reason"] or {}
    match finish.get("matched"):
        case str():
            ids = None  # text was cut
        case int():
            ids = ids[:-1] if ids else ids  # the token that ended it has no text
    return Answer(out["text"], out["meta_info"], ids)


def _num_shared(before: Sequence[int], ids: Sequence[int]) -> int:
    count = 0
    for mine, other in zip(before, ids, strict=False):
        if mine != other:
            break
        count += 1
    return min(count, len(ids) - 1)

"""Generation requests in, pieces of text out: what the server and `sgjax.Engine` both stand on."""

import asyncio
import dataclasses
import itertools
import uuid
from array import array
from collections.abc import Sequence

from sgjax.constrained.grammar import JsonWhitespace
from sgjax.engine.client import EngineClient
from sgjax.engine.deltas import Deltas
from sgjax.engine.messages import Delta, Submit
from sgjax.errors import InvalidRequest
from sgjax.front.grammars import read_grammar
from sgjax.front.ledger import Ledger
from sgjax.front.piece import Piece
from sgjax.front.request import (
    MAX_RID_CHARS,
    GenerationRequest,
    check_params,
    check_task,
    fit,
    seed_of_sample,
)
from sgjax.front.stream import Observer, SampleStream
from sgjax.front.token_ids import read_ids, typed
from sgjax.text import Tokenizer

LONG_TEXT = 20_000
"""Characters from which a prompt is tokenised in a thread, so that streams go on meanwhile."""

NO_INTERVAL = 1 << 30


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the engine reads it, under the name its caller may abort it by."""

    rid: str
    ids: array
    text: str | None
    """As it was given; None if ids were."""
    grammar: str | None = None
    """What its outputs must keep to."""
    grammar_after: Sequence[int] = ()
    shown_tokens: tuple[str, ...] = ()
    """GenerationRequest's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One of the outputs wanted. They come in the order of prompts, those of a prompt together."""

    rid: str
    """Its name in answers: the prompt's, with a suffix where the prompt has several samples."""
    prompt: Prompt
    submit: Submit
    """It has a name of its own: a delta of an aborted request must never reach its successor."""


class Generation:
    """Requests under way: an asynchronous iterator of lists of (index of the sample, Piece), those
    that came together.

    Whoever got it must exhaust it or close it: closing aborts what has not ended.
    """

    def __init__(
        self,
        ledger: Ledger,
        prompts: list[Prompt],
        samples: list[Sample],
        streams: list[SampleStream],
        deltas: Deltas,
    ):
        self.prompts = prompts
        self.samples = samples
        self._ledger = ledger
        self._streams = streams
        self._deltas = deltas
        self._num_live = len(samples)
        self._is_open = True

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> list[tuple[int, Piece]]:
        try:
            while self._num_live:
                if pieces := self._pieces(await self._deltas.take()):
                    return pieces
        except BaseException:
            await self.aclose()
            raise
        await self.aclose()
        raise StopAsyncIteration

    def _pieces(self, news: dict[int, Delta]) -> list[tuple[int, Piece]]:
        pieces: list[tuple[int, Piece]] = []
        for index, delta in news.items():
            piece = self._streams[index].take(delta)
            if piece is None:
                continue
            pieces.append((index, piece))
            if piece.finish is not None:
                self._deltas.end(index)  # a stop string may have ended it before the engine does
                self._num_live -= 1
                self._ledger.give(1)
        return pieces

    async def aclose(self) -> None:
        """Aborts what has not ended. May be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        self._deltas.close()
        self._ledger.give(self._num_live)
        self._ledger.leave({prompt.rid for prompt in self.prompts})


class Generator:
    """Turns requests into submits, checks them, and streams their text.

    It belongs to one asyncio loop, its client's. `max_live` bounds the samples under way, running
    and waiting together; past it `start` raises QueueFull before it tokenises anything.
    """

    def __init__(
        self,
        client: EngineClient,
        tokenizer: Tokenizer | None,
        observer: Observer | None = None,
        *,
        max_live: int = 1 << 20,
        stream_interval: int = 1,
        json_whitespace: JsonWhitespace = "compact",
    ):
        self.client = client
        self.tokenizer = tokenizer
        self._observer = observer
        self._stream_interval = stream_interval
        self._json_whitespace: JsonWhitespace = json_whitespace
        self._ledger = Ledger(max_live)
        self._serials = itertools.count()

    @property
    def num_live(self) -> int:
        """Samples that were started and have not ended."""
        return self._ledger.count

    def check_room(self, num_samples: int) -> None:
        """Raises what `start` would for want of room: for callers who first prepare a prompt."""
        self._ledger.check(num_samples)

    async def start(
        self, requests: Sequence[GenerationRequest], *, is_streamed: bool = False
    ) -> Generation:
        """Checks, tokenises and starts requests. Those of equal `rid` are aborted together.

        Without `is_streamed`, a sample comes in two pieces at most.

        Raises:
            QueueFull: too much is under way.
            RequestError: one of the requests is at fault; none is started.
        """
        num_samples = sum(request.params.n for request in requests)
        self._ledger.take(num_samples)
        try:
            for request in requests:
                check_task(self.client.info, is_pooled=request.is_pooled)
            prompts = [await self._read(request) for request in requests]
            samples = [
                sample
                for request, prompt in zip(requests, prompts, strict=True)
                for sample in self._samples(request, prompt, is_streamed)
            ]
            interval = self._stream_interval if is_streamed else NO_INTERVAL
            streams = [
                SampleStream(
                    self.tokenizer,
                    sample.submit,
                    self._observer,
                    interval=interval,
                    shown_tokens=sample.prompt.shown_tokens,
                )
                for sample in samples
            ]
            self._ledger.enter([(sample.prompt.rid, sample.submit.rid) for sample in samples])
            deltas = self._open(prompts, samples)
        except BaseException:
            self._ledger.give(num_samples)
            raise
        return Generation(self._ledger, prompts, samples, streams, deltas)

    async def abort(self, rid: str | None) -> None:
        """Ends the request of that name with all its samples (None: everything). An unknown name is
        no error: the request may just have ended."""
        targets = [None] if rid is None else self._ledger.samples_of(rid)
        for target in targets:
            await self.client.abort(target)

    def _samples(
        self, request: GenerationRequest, prompt: Prompt, is_streamed: bool
    ) -> list[Sample]:
        params = fit(request, len(prompt.ids), self.client.info)
        wants = request.return_logprob
        samples = []
        for i in range(params.n):
            rid = prompt.rid if params.n == 1 else f"{prompt.rid}-{i}"
            submit = Submit(
                f"{rid}#{next(self._serials)}",
                prompt.ids,
                dataclasses.replace(params, n=1, seed=seed_of_sample(params.seed, i)),
                return_logprob=wants,
                logprob_start=request.logprob_start if wants else None,
                top_logprobs=request.top_logprobs if wants else 0,
                cache_salt=request.cache_salt,
                # Stop strings are looked for here, in every token that comes.
                is_streamed=is_streamed or bool(params.stop),
                grammar=prompt.grammar,
                grammar_after=list(prompt.grammar_after),
            )
            samples.append(Sample(rid, prompt, submit))
        return samples

    def _open(self, prompts: list[Prompt], samples: list[Sample]) -> Deltas:
        try:
            return self.client.open([sample.submit for sample in samples])
        except BaseException:
            self._ledger.leave({prompt.rid for prompt in prompts})
            raise

    async def _read(self, request: GenerationRequest) -> Prompt:
        rid = uuid.uuid4().hex if request.rid is None else request.rid
        if not 0 < len(rid) <= MAX_RID_CHARS:
            raise InvalidRequest(f"rid must have 1 to {MAX_RID_CHARS} characters.", param="rid")
        text, given, types = None, request.prompt, None
        if isinstance(given, str):
            text, (given, types) = given, await self._tokens_of(request)
        grammar, after = await read_grammar(request, self.tokenizer, self._json_whitespace)
        info = self.client.info
        ids = read_ids(given, info.vocab_size)
        if types is not None:
            ids = typed(ids, types, vocab_size=info.vocab_size, num_types=info.num_token_types)
        prompt = Prompt(rid, ids, text, grammar, after, request.shown_tokens)
        check_params(request, len(prompt.ids), info.vocab_size)
        if self.tokenizer is None and request.params.stop:
            raise InvalidRequest(
                "Stop strings need a tokenizer, and this engine was started with "
                "--skip-tokenizer-init. Use stop_token_ids.",
                param="stop",
            )
        return prompt

    async def _tokens_of(self, request: GenerationRequest) -> tuple[list[int], list[int] | None]:
        """The ids of a request's text, and of a pair their types, too."""
        if self.tokenizer is None:
            raise InvalidRequest(
                "Text needs a tokenizer, and this engine was started with --skip-tokenizer-init. "
                "Send input_ids.",
                param="prompt",
            )
        if len(request.prompt) + len(request.second or "") < LONG_TEXT:
            return _encoded(self.tokenizer, request)
        return await asyncio.to_thread(_encoded, self.tokenizer, request)


def _encoded(
    tokenizer: Tokenizer, request: GenerationRequest
) -> tuple[list[int], list[int] | None]:
    text = str(request.prompt)
    if request.second is not None:
        return tokenizer.encode_pair(text, request.second)
    return tokenizer.encode(text, add_special_tokens=request.add_special_tokens), None

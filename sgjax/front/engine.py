"""`sgjax.Engine`: a model in this process, without a server."""

import dataclasses
import functools
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

import sgjax
from sgjax.config import ServeConfig
from sgjax.engine.client import EngineClient
from sgjax.errors import ConfigError, InvalidRequest
from sgjax.front.files import tokenizer_of
from sgjax.front.generator import Generation, Generator
from sgjax.front.loop_thread import LoopThread
from sgjax.front.native import Answer, NativeCall, read_call
from sgjax.front.vectors import encoded, read_vector_call, vectors
from sgjax.sampling_params import SamplingParams
from sgjax.text import Tokenizer

if TYPE_CHECKING:
    from sgjax.lang.backends.engine import EngineBackend

Output = dict[str, Any]
Params = dict[str, Any] | SamplingParams


class Engine:
    """Generates text with a model. Threads may share it, and so may asyncio loops.

        with sgjax.Engine(model_path="demo") as engine:
            out = engine.generate("The capital of France is", {"max_new_tokens": 8})
            print(out["text"])

    It installs no signal handlers and prints nothing. `shutdown` (or leaving the `with`) frees the
    device; an engine that is forgotten is shut down when it is collected, or when Python ends.
    """

    def __init__(self, **options: Any):
        """`options` are the fields of ServeConfig: the flags of `sgjax serve`, with underscores.

        Raises:
            ConfigError: an option is unknown or its value cannot be served with.
        """
        self.config = ServeConfig.from_options(options)
        self._tokenizer = tokenizer_of(self.config)
        self._thread = LoopThread("sgjax-front")
        try:
            self._client = _start_local(self.config, self._thread)
        except BaseException:
            self._thread.close()
            raise
        self._generator = Generator(
            self._client,
            self._tokenizer,
            stream_interval=self.config.stream_interval,
            json_whitespace=self.config.json_whitespace,
        )
        self._finalizer = weakref.finalize(self, _close, self._client, self._thread)

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._tokenizer

    @property
    def loop(self) -> LoopThread:
        """Where its coroutines run."""
        return self._thread

    @property
    def backend(self) -> "EngineBackend":
        """For programs of the language (`sgjax.function`)."""
        return self._backend

    @functools.cached_property
    def _backend(self) -> "EngineBackend":
        from sgjax.lang.backends.engine import EngineBackend  # the language is not always wanted

        return EngineBackend(self)

    async def answer(self, *, return_text_in_logprobs: bool = False, **call: Any) -> Any:
        """`generate`, from a coroutine on `loop`: it needs no thread to wait."""
        self._check_open()
        return await self._whole(read_call(**_of_call(call)), return_text_in_logprobs)

    def answers(
        self, *, return_text_in_logprobs: bool = False, **call: Any
    ) -> AsyncGenerator[Output, None]:
        """The same with `stream`."""
        self._check_open()
        return self._stream(read_call(**_of_call(call)), return_text_in_logprobs)

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        sampling_params: Params | Sequence[Params] | None = None,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
        return_logprob: bool | Sequence[bool] | None = False,
        logprob_start_len: int | Sequence[int] | None = None,
        top_logprobs_num: int | Sequence[int] | None = None,
        stream: bool = False,
        *,
        return_text_in_logprobs: bool = False,
        rid: str | Sequence[str] | None = None,
        cache_salt: str = "",
    ) -> Any:
        """Goes on from a prompt: {"text", "output_ids", "meta_info"}; a list of these for a list.

        Give either text or token ids. Scalars hold for all prompts of a batch. With n > 1 the
        answer is a list, prompt by prompt. With `stream` it is an iterator of the same dicts,
        cumulative, which interleave by "index"; closing it ends the requests.

        Args:
            sampling_params: SamplingParams, or a dict of its fields; one, or one for each prompt.
            return_logprob: adds output_token_logprobs to meta_info: (logprob, id, text or None).
            logprob_start_len: from where to add those of the prompt too; -1: nowhere.
            top_logprobs_num: so many likeliest tokens beside each.
            rid: a name to abort by.
            cache_salt: prompts share cached prefixes only with those of equal salt.

        Raises:
            RequestError: the request is at fault; it says why.
            RequestFailed: the engine failed on this request.
            EngineDead: the engine has ended.
        """
        self._check_open()
        call = read_call(
            prompt,
            input_ids,
            sampling_params,
            rid=rid,
            return_logprob=return_logprob,
            logprob_start_len=logprob_start_len,
            top_logprobs_num=top_logprobs_num,
            cache_salt=cache_salt,
        )
        if stream:
            return self._iterate(self._stream(call, return_text_in_logprobs))
        return self._thread.run(self._whole(call, return_text_in_logprobs))

    async def async_generate(
        self,
        prompt: str | Sequence[str] | None = None,
        sampling_params: Params | Sequence[Params] | None = None,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
        return_logprob: bool | Sequence[bool] | None = False,
        logprob_start_len: int | Sequence[int] | None = None,
        top_logprobs_num: int | Sequence[int] | None = None,
        stream: bool = False,
        *,
        return_text_in_logprobs: bool = False,
        rid: str | Sequence[str] | None = None,
        cache_salt: str = "",
    ) -> Any:
        """As `generate`, from a coroutine; with `stream` it gives an asynchronous iterator.

        Cancelling the caller ends the requests.
        """
        self._check_open()
        call = read_call(
            prompt,
            input_ids,
            sampling_params,
            rid=rid,
            return_logprob=return_logprob,
            logprob_start_len=logprob_start_len,
            top_logprobs_num=top_logprobs_num,
            cache_salt=cache_salt,
        )
        if stream:
            return self._iterate_async(self._stream(call, return_text_in_logprobs))
        return await self._thread.await_(self._whole(call, return_text_in_logprobs))

    def encode(
        self,
        prompt: str | Sequence[str] | None = None,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    ) -> Any:
        """The vector of a prompt, of a model that gives these: {"embedding", "meta_info"}; a list
        for a list. Give either text or token ids.

        Raises: as `generate`.
        """
        self._check_open()
        return self._thread.run(self._encode(prompt, input_ids))

    async def async_encode(
        self,
        prompt: str | Sequence[str] | None = None,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    ) -> Any:
        """As `encode`, from a coroutine."""
        self._check_open()
        return await self._thread.await_(self._encode(prompt, input_ids))

    def flush_cache(self) -> bool:
        """Empties the prefix cache; False (and nothing done) while requests run or wait."""
        self._check_open()
        return self._thread.run(self._client.flush_cache())

    def abort_request(self, rid: str | None = None, abort_all: bool = False) -> None:
        """Ends a request by its name, or all: they return what they have, finish_reason "abort"."""
        self._check_open()
        if rid is None and not abort_all:
            raise InvalidRequest("Name a request by rid, or set abort_all.", param="rid")
        self._thread.run(self._generator.abort(None if abort_all else rid))

    def get_server_info(self) -> dict[str, Any]:
        """Options, what the engine is, and its counters."""
        self._check_open()
        options = dataclasses.asdict(self.config)
        del options["api_key"]
        return {
            **options,
            "version": sgjax.__version__,
            "engine": msgspec.to_builtins(self._client.info),
            "stats": msgspec.to_builtins(self._thread.run(self._client.stats())),
        }

    def shutdown(self) -> None:
        """Ends the engine; what is in flight is aborted. May be called twice."""
        self._finalizer()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise ConfigError("This Engine was shut down. Make a new one.")

    async def _whole(self, call: NativeCall, has_text: bool) -> Any:
        generation = await self._generator.start(call.requests)
        answers = self._answers(generation, has_text)
        async with aclosing(generation):
            async for pieces in generation:
                for index, piece in pieces:
                    answers[index].add(piece)
        outputs = [answer.to_dict(index) for index, answer in enumerate(answers)]
        return outputs if call.is_list else outputs[0]

    async def _encode(self, prompt: Any, input_ids: Any) -> Any:
        requests, is_list = read_vector_call(prompt, input_ids)
        answers = encoded(await vectors(await self._generator.start(requests)))
        return answers if is_list else answers[0]

    async def _stream(self, call: NativeCall, has_text: bool) -> AsyncGenerator[Output, None]:
        generation = await self._generator.start(call.requests, is_streamed=True)
        answers = self._answers(generation, has_text)
        async with aclosing(generation):
            async for pieces in generation:
                for index, piece in pieces:
                    answers[index].add(piece)
                    yield answers[index].to_dict(index)

    def _answers(self, generation: Generation, has_text: bool) -> list[Answer]:
        return [
            Answer(sample, self._tokenizer, has_logprob_text=has_text)
            for sample in generation.samples
        ]

    def _iterate(self, outputs: AsyncGenerator[Output, None]) -> Iterator[Output]:
        try:
            while (output := self._thread.run(_next(outputs))) is not None:
                yield output
        finally:
            if self._finalizer.alive:
                self._thread.run(outputs.aclose())

    async def _iterate_async(self, outputs: AsyncGenerator[Output, None]) -> AsyncIterator[Output]:
        try:
            while (output := await self._thread.await_(_next(outputs))) is not None:
                yield output
        finally:
            if self._finalizer.alive:
                await self._thread.await_(outputs.aclose())


def _of_call(call: dict[str, Any]) -> dict[str, Any]:
    return {"prompts": call.pop("prompt", None), "input_ids": None, **call}


async def _next(outputs: AsyncGenerator[Output, None]) -> Output | None:
    return await anext(outputs, None)


def _start_local(config: ServeConfig, thread: LoopThread) -> EngineClient:
    from sgjax.engine.local_client import LocalClient  # brings JAX, so only when there is a need

    return LocalClient.start(config, loop=thread.loop)


def _close(client: EngineClient, thread: LoopThread) -> None:
    try:
        thread.run(client.close())
    finally:
        thread.close()

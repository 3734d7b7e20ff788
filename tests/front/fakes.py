"""A tokenizer of bytes, and an engine whose model recites a text, for front and server tests."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from sgjax.engine.deltas import Deltas
from sgjax.engine.messages import Delta, EngineInfo, EngineStats, Logprobs, Submit
from sgjax.engine.request import FinishReason
from sgjax.errors import EngineDead
from sgjax.text import ChatTemplate, Tokenizer

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
BOS, EOS = 256, 257
VOCAB_SIZE = 258
CONTEXT = 256
POOL = 200
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if shout %}!{% endif %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """Token i is byte i, so that an umlaut is two tokens and an emoji four; then <s> and </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    spelling = {byte: chr(byte) for byte in prints}
    spelling |= {byte: chr(0x100 + n) for n, byte in enumerate(others)}
    assert sorted(spelling.values()) == alphabet
    backend = tokenizers.Tokenizer(
        models.BPE(vocab={spelling[byte]: byte for byte in range(256)}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL.values()))
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    return Tokenizer(backend, SPECIAL)


def chat_template() -> ChatTemplate:
    return ChatTemplate({"default": TEMPLATE}, SPECIAL)


def make_info(**changes: object) -> EngineInfo:
    values: dict[str, object] = {
        "architecture": "FakeForCausalLM",
        "vocab_size": VOCAB_SIZE,
        "context_length": CONTEXT,
        "max_total_tokens": 1 << 20,
        "max_running_requests": 4,
        "page_size": 16,
        "tp_size": 1,
        "eos_ids": [EOS],
        "dtype": "float32",
        "device": "fake",
        "default_sampling": {},
    }
    return EngineInfo(**(values | changes))


def logprob_of(token: int) -> float:
    """The fake model's opinion of any token, wherever it stands."""
    return -1.0 - token / 100


class FakeEngineClient:
    """An EngineClient whose model recites `text`, then EOS; a seed says from which token on.

    `chunk` tokens come in a delta, and the next delta when nothing is left to be taken. After
    `pause_after` tokens a request waits until it is aborted, or for `go_on`. All that was asked is
    kept in `submits`; `live` are the requests under way, `aborted` those that were left early.
    """

    def __init__(self, text: str = "", *, chunk: int = 1, info: EngineInfo | None = None):
        self.info = info or make_info()
        self.is_ready = True
        self.is_alive = True
        self.reset(text, chunk=chunk)

    def reset(self, text: str, *, chunk: int = 1, pause_after: int | None = None) -> None:
        self.text, self.chunk, self.pause_after = text, chunk, pause_after
        self.submits: list[Submit] = []
        self.aborted: list[str] = []
        self.live: dict[str, asyncio.Event] = {}
        self.fails = False
        self.num_cached = 0
        self._reasons: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def open(self, submits: Sequence[Submit]) -> Deltas:
        self._check()
        deltas = Deltas([submit.rid for submit in submits], self._leave)
        for index, submit in enumerate(submits):
            self.submits.append(submit)
            self.live[submit.rid] = asyncio.Event()
            work = self._recite(submit, index, deltas)
            self._tasks[submit.rid] = asyncio.ensure_future(work)
        return deltas

    async def _recite(self, submit: Submit, index: int, deltas: Deltas) -> None:
        try:
            async for delta in self.recital(submit, self.live[submit.rid]):
                while deltas.has_news:
                    await asyncio.sleep(0)
                if delta.finish is not None:
                    del self.live[submit.rid]
                deltas.put(index, delta)
        except EngineDead as error:
            deltas.fail(error)

    def _leave(self, rid: str) -> None:
        if task := self._tasks.pop(rid, None):
            task.cancel()
        if self.live.pop(rid, None) is not None:
            self.aborted.append(rid)

    async def recital(self, submit: Submit, wake: asyncio.Event) -> AsyncGenerator[Delta, None]:
        prompt_logprobs = _prompt_logprobs(submit)
        if self.fails:
            yield Delta(submit.rid, [], FinishReason("abort", message="NaN", failed=True))
            return
        tokens, finish = self._tokens(submit)
        for start in range(0, max(len(tokens), 1), self.chunk):
            if self.pause_after is not None and start >= self.pause_after:
                await wake.wait()
            await asyncio.sleep(0)
            self._check()
            if submit.rid in self._reasons:
                yield Delta(submit.rid, [], FinishReason("abort", message="aborted"))
                return
            part = tokens[start : start + self.chunk]
            is_last = start + self.chunk >= len(tokens)
            yield Delta(
                submit.rid,
                part,
                finish if is_last else None,
                _logprobs(part, submit.top_logprobs) if submit.return_logprob else None,
                prompt_logprobs,
                self.num_cached,
            )
            prompt_logprobs = None

    def _tokens(self, submit: Submit) -> tuple[list[int], FinishReason]:
        params = submit.params
        script = [*self.text.encode(), *([] if params.ignore_eos else [EOS])]
        begin = 0 if params.seed is None or params.is_greedy else params.seed % len(script)
        source = itertools.islice(itertools.cycle(script), begin, None)
        stops = set() if params.ignore_eos else {*self.info.eos_ids, *params.stop_token_ids}
        tokens: list[int] = []
        limit = params.max_new_tokens
        assert limit is not None, "the front says how far"
        while len(tokens) < limit:
            tokens.append(next(source))
            if tokens[-1] in stops:
                return tokens, FinishReason("stop", matched=tokens[-1])
        return tokens, FinishReason("length", length=len(tokens))

    async def abort(self, rid: str | None) -> None:
        self._check()
        for name in [*self.live] if rid is None else [rid]:
            self._reasons[name] = "aborted"
            if name in self.live:
                self.live[name].set()

    def go_on(self) -> None:
        for wake in self.live.values():
            wake.set()

    def die(self) -> None:
        self.is_alive = False
        self.go_on()

    async def flush_cache(self) -> bool:
        self._check()
        return not self.live

    async def stats(self) -> EngineStats:
        self._check()
        return EngineStats(
            num_running=len(self.live),
            num_pages=10,
            num_free_pages=3,
            num_cached_pages=5,
            prompt_tokens=8,
            cached_tokens=2,
            steps=4,
            step_seconds=0.5,
            ready=self.is_ready,
        )

    async def close(self) -> None:
        self.die()

    def _check(self) -> None:
        if not self.is_alive:
            raise EngineDead("The engine process ended.")


def _logprobs(tokens: list[int], num_top: int) -> Logprobs:
    """The likeliest tokens are always 0, 1, 2 …, whichever was drawn."""
    top = [[(logprob_of(i), i) for i in range(num_top)] for _ in tokens] if num_top else None
    return Logprobs(list(tokens), [logprob_of(token) for token in tokens], top)


def _prompt_logprobs(submit: Submit) -> Logprobs | None:
    """As the engine has them: of the tokens after the index, in one piece."""
    if not submit.return_logprob or submit.logprob_start is None:
        return None
    targets = submit.prompt_ids[submit.logprob_start + 1 :].tolist()
    return _logprobs(targets, submit.top_logprobs) if targets else None

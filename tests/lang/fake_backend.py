"""A backend that writes down what is asked of it, and answers as a test says."""

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.front.loop_thread import LoopThread
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.chat_template import ChatTemplate, get_chat_template
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod
from sgjax.lang.transcript import Transcript


@dataclasses.dataclass(frozen=True)
class Seen:
    """One thing that was asked: what, and after which text."""

    kind: str
    text: str
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    logprobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dtype: type | None = None
    choices: tuple[str, ...] = ()


Script = Callable[[str], Any]
"""From the text so far to the answer: a text, or an Answer. It may be a coroutine function."""


class FakeBackend:
    """See the module. Close it: its loop has a thread."""

    def __init__(
        self,
        script: Script = lambda text: "!",
        *,
        template: str | ChatTemplate = "chatml",
        reads: Sequence[str] = (),
        scores: Mapping[str, Sequence[float]] | None = None,
    ):
        """`scores`: the logprobs of each choice's tokens; those without the prompt by "?choice"."""
        self.loop = LoopThread("fake-backend")
        self.chat_template = (
            template if isinstance(template, ChatTemplate) else get_chat_template(template)
        )
        self.reads = frozenset(reads)
        self.script = script
        self.seen: list[Seen] = []
        self.ended_roles: list[str] = []
        self.num_given_up = 0
        self.speculates: int | None = None
        self.is_flushed = False
        self._scores = scores or {}

    @property
    def kinds(self) -> list[str]:
        return [each.kind for each in self.seen]

    @property
    def calls(self) -> list[Seen]:
        """Those of `gen`."""
        return [each for each in self.seen if each.kind in ("generate", "stream")]

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        self._see("generate", transcript, call)
        return await self._answer(transcript.text)

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        """Character by character."""
        self._see("stream", transcript, call)
        whole = await self._answer(transcript.text)
        for end in range(1, len(whole.text) + 1):
            await asyncio.sleep(0)
            yield Answer(whole.text[:end], {**whole.meta_info, "num": end})

    async def select(
        self,
        transcript: Transcript,
        choices: Sequence[str],
        *,
        method: ChoicesMethod,
        temperature: float,
    ) -> ChoicesDecision:
        self.seen.append(
            Seen("select", transcript.text, {"temperature": temperature}, choices=tuple(choices))
        )
        rows = [list(self._scores.get(choice, [-1.0])) for choice in choices]
        alone = [list(self._scores.get(f"?{choice}", [-1.0])) for choice in choices]
        return method(
            choices=choices,
            normalized_prompt_logprobs=[sum(row) / len(row) for row in rows],
            input_token_logprobs=[_triples(row) for row in rows],
            output_token_logprobs=[[] for _ in rows],
            unconditional_token_logprobs=[_triples(row) for row in alone],
        )

    async def cache_prefix(self, text: str) -> None:
        self.seen.append(Seen("cache_prefix", text))

    async def before_fork(self, transcript: Transcript) -> None:
        self.seen.append(Seen("before_fork", transcript.text))

    def speculating(self, num_tokens: int) -> "FakeBackend":
        if num_tokens > 100:
            raise InvalidProgram("That many tokens cannot be guessed.")
        self.speculates = num_tokens
        return self

    def end_role(self, transcript: Transcript) -> None:
        self.ended_roles.append(transcript.messages[-1]["role"])

    def flush_cache(self) -> bool:
        self.is_flushed = True
        return True

    def get_server_info(self) -> dict[str, Any]:
        return {"name": "fake"}

    def shutdown(self) -> None:
        self.loop.close()

    def __enter__(self) -> "FakeBackend":
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _see(self, kind: str, transcript: Transcript, call: Call) -> None:
        self.seen.append(Seen(kind, transcript.text, call.params, call.logprobs, call.dtype))

    async def _answer(self, text: str) -> Answer:
        try:
            said = self.script(text)
            if inspect.isawaitable(said):
                said = await said
        except asyncio.CancelledError:
            self.num_given_up += 1
            raise
        return said if isinstance(said, Answer) else Answer(said, {"prompt": text})


def _triples(values: Sequence[float]) -> list[tuple[float, int, None]]:
    return [(value, index, None) for index, value in enumerate(values)]


def in_turn(*answers: str | Answer) -> Script:
    """These, one after the other."""
    left = iter(answers)
    return lambda text: next(left)

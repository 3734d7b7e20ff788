"""What a backend is: something that goes on from a transcript.

One loop runs all programs, so a backend's calls are coroutines; cancelling one gives the call up.
"""

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from sgjax.lang.chat_template import ChatTemplate
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod
from sgjax.lang.transcript import Transcript

if TYPE_CHECKING:
    from sgjax.front.loop_thread import LoopThread  # brings uvloop, which a program does not need


@dataclasses.dataclass(frozen=True)
class Call:
    """How to go on."""

    params: Mapping[str, Any]
    """Sampling parameters by SGLang's names: max_new_tokens, stop, temperature, regex ..."""
    logprobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """return_logprob, logprob_start_len, top_logprobs_num, return_text_in_logprobs."""
    dtype: type | None = None
    """The value's, for backends that cannot bind outputs by the regex in `params`."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the model said: all of it, so far."""

    text: str
    meta_info: Mapping[str, Any]
    ids: Sequence[int] | None = None
    """The tokens of `text`; None: unknown, or others stood behind them."""


class Backend(Protocol):
    """See the module."""

    @property
    def loop(self) -> "LoopThread":
        """Where programs run, and all coroutines here."""
        ...

    @property
    def chat_template(self) -> ChatTemplate:
        """What roles look like in the text that it reads."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Kinds of attachments that it takes: "image", "video"."""
        ...

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        """Goes on from the transcript. Raises what goes wrong."""
        ...

    def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        """The same, as it comes."""
        ...

    async def select(
        self,
        transcript: Transcript,
        choices: Sequence[str],
        *,
        method: ChoicesMethod,
        temperature: float,
    ) -> ChoicesDecision:
        """Chooses a text to go on with."""
        ...

    async def cache_prefix(self, text: str) -> None:
        """Computes what many programs begin with, before they do."""
        ...

    async def before_fork(self, transcript: Transcript) -> None:
        """Several programs are about to go on from here."""
        ...

    def speculating(self, num_tokens: int) -> "Backend":
        """A backend for one program, which guesses so many tokens ahead.

        Raises:
            InvalidProgram: it cannot.
        """
        ...

    def end_role(self, transcript: Transcript) -> None:
        """A message has ended (which an API may want to know)."""
        ...

    def flush_cache(self) -> bool:
        """Empties the prefix cache. From any thread but the loop's."""
        ...

    def get_server_info(self) -> dict[str, Any]:
        """What the backend says of itself. From any thread but the loop's."""
        ...

    def shutdown(self) -> None:
        """Frees what it holds."""
        ...


class HasBackend(Protocol):
    """What stands for a backend where one is named: an Engine, a Runtime."""

    @property
    def backend(self) -> Backend: ...


AnyBackend = Backend | HasBackend


class TurnBackend(Protocol):
    """A backend that is asked for an assistant's message as a whole: once it has ended, or once the
    program wants to know something that is in it."""

    async def turn(self, transcript: Transcript, parts: Sequence[str | Call]) -> list[Answer]:
        """What each call of the message answers. `parts`: what the message says, in order, behind
        the transcript, where it has begun."""
        ...


def takes_turns(backend: Backend) -> TypeGuard[TurnBackend]:
    """Whether a backend is a TurnBackend. (`isinstance` of a protocol costs as much as a call.)"""
    return hasattr(backend, "turn")

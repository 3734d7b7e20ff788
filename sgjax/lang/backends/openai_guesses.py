"""Fewer calls of OpenAI's API: the model is asked for more than a gen needs (num_api_spec_tokens).

A model of completions is asked, without stops, for at least so many tokens. What follows the first
gen's answer is kept as a guess: texts that the program appends and gens that it makes are taken
from it as long as they are what it says, and there is a call again once they are not, or once it
does not reach. A gen takes from a guess what a call would have given: its stops and max_tokens
hold, and one with other sampling parameters, or with a regex, is a call of its own. The guess is
kept with the transcript, so forks have it too.

A model of chats is asked for an assistant's whole message at its end, of at most so many tokens,
and what it says is taken apart by the constant texts in the message (`split_turn`), which the model
must say of itself: the user's message has to ask for the form. It is asked up to three times. A
gen's max_tokens does not count; a message of one gen alone is that gen's call as ever. Because this
backend is a TurnBackend, the executor holds back what the message says until it ends, or until the
program reads a value, which is then asked for with what stands before it.
"""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from sgjax.errors import InvalidProgram, ProgramFailed
from sgjax.lang.backends.api import ApiBackend, OwnLoop
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.backends.guesses import (
    Guess,
    check_same,
    drawn_with,
    is_bound,
    split_turn,
)
from sgjax.lang.backends.openai_chat import ChatModel
from sgjax.lang.backends.openai_completion import CompletionModel
from sgjax.lang.chat_template import ChatTemplate
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod
from sgjax.lang.transcript import Transcript

_MOST_TRIES = 3


class _Guessing(ApiBackend, Protocol):
    """One program's, on the loop and the client of another backend."""

    api: str
    _own: OwnLoop
    _template: ChatTemplate
    _base: ApiBackend
    _num_tokens: int

    def __init__(self, base: ApiBackend, num_tokens: int):
        self.api, self._own, self._template = base.api, base._own, base.chat_template
        self._base, self._num_tokens = base, num_tokens

    @property
    def reads(self) -> frozenset[str]:
        return self._base.reads

    def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        raise InvalidProgram("num_api_spec_tokens cannot be streamed. Leave one of them out.")

    async def select(
        self,
        transcript: Transcript,
        choices: Sequence[str],
        *,
        method: ChoicesMethod,
        temperature: float,
    ) -> ChoicesDecision:
        return await self._base.select(transcript, choices, method=method, temperature=temperature)

    def shutdown(self) -> None:
        """Nothing: the loop and the client are the other's."""


class GuessingCompletion(_Guessing):
    """Of a model that goes on from a text."""

    def __init__(self, base: ApiBackend, model: CompletionModel, num_tokens: int):
        super().__init__(base, num_tokens)
        self._model = model

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        if is_bound(call):
            return await self._model.generate(transcript, call)
        guess = _left_of(transcript, call)
        while (found := guess.answer(call)) is None:
            guess = await self._say_more(guess, transcript.text, call)
        transcript.memo = guess
        text, reason = found
        return Answer(text, {"finish_reason": {"type": reason}})

    async def _say_more(self, guess: Guess, text: str, call: Call) -> Guess:
        """A longer one."""
        missing = call.params["max_new_tokens"] - len(guess.pieces)
        params = {**call.params, "stop": None, "max_new_tokens": max(missing, self._num_tokens)}
        fields = self._model.fields(dataclasses.replace(call, params=params))
        prompt = text + "".join(guess.pieces)
        answer = await self._model.complete(prompt, {**fields, "logprobs": 1})
        choice = answer.choices[0]
        pieces = _pieces(choice)
        has_ended = choice.finish_reason == "stop"
        if not pieces and not has_ended:
            raise ProgramFailed("The server said nothing, and not that it was at its end.")
        return dataclasses.replace(guess, pieces=(*guess.pieces, *pieces), has_ended=has_ended)


class GuessingChat(_Guessing):
    """Of a model that answers messages. A TurnBackend."""

    def __init__(self, base: ApiBackend, model: ChatModel, num_tokens: int):
        super().__init__(base, num_tokens)
        self._model = model

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        return await self._model.generate(transcript, call)

    async def turn(self, transcript: Transcript, parts: Sequence[str | Call]) -> list[Answer]:
        calls = [part for part in parts if isinstance(part, Call)]
        if not calls:
            return []
        if len(parts) == 1:
            return [await self.generate(transcript, calls[0])]
        check_same(calls)
        params = {**calls[0].params, "stop": None, "max_new_tokens": self._num_tokens}
        whole = dataclasses.replace(calls[0], params=params)
        for _ in range(_MOST_TRIES):
            answer = await self._model.ask_whole(transcript, whole)
            if (values := split_turn(answer.text, parts)) is not None:
                return [Answer(value, answer.meta_info) for value in values]
        texts = ", ".join(repr(part) for part in parts if isinstance(part, str))
        raise ProgramFailed(
            f"The model was asked {_MOST_TRIES} times, but its message does not have the texts "
            f"{texts:.300} in this order. It said last: {answer.text!r:.300}. Ask for this form in "
            "the user's message, give it more num_api_spec_tokens, or leave these out."
        )


def _left_of(transcript: Transcript, call: Call) -> Guess:
    """What is left of the guess before; an empty one if that says something else."""
    before: Any = transcript.memo
    if before is not None and before.params == drawn_with(call):
        left = before.behind(transcript.text)
        if left is not None:
            return left
    return Guess(transcript.length, (), has_ended=False, params=drawn_with(call))


def _pieces(choice: Any) -> list[str]:
    """The text, a piece a token."""
    if choice.logprobs is None or choice.logprobs.text_offset is None:
        raise ProgramFailed(
            "The server does not tell where tokens begin (logprobs), which num_api_spec_tokens "
            "needs to know. Leave it out."
        )
    offsets = [at - choice.logprobs.text_offset[0] for at in choice.logprobs.text_offset]
    ends = [*offsets[1:], len(choice.text)]
    return [choice.text[at:end] for at, end in zip(offsets, ends, strict=False)]

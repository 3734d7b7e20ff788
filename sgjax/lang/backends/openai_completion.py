"""OpenAI's API of completions: it goes on from any text."""

import dataclasses
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sgjax.errors import ProgramFailed
from sgjax.lang.backends.api_values import check_dtype
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.backends.openai_form import TokenUsage, meta_info, request_fields
from sgjax.lang.choices import (
    ChoicesDecision,
    ChoicesMethod,
    Triple,
    mean_logprob,
    wants_unconditional,
)
from sgjax.lang.transcript import Transcript

_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
_NO_ID = -1
"""This API tells texts of tokens only."""
_VALUES = {int: r"[-+]?[0-9]+", float: r"[-+]?[0-9]*\.?[0-9]+", bool: "True|False"}


class CompletionModel:
    """A model that goes on from a text."""

    def __init__(self, client: Any, name: str, usage: TokenUsage, *, is_server: bool):
        self._client = client
        self._name = name
        self._usage = usage
        self._is_server = is_server

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        """A dtype that no regex can bind is found in the answer: a string ends at its quote, and
        has its first before; a number is what the answer begins with."""
        if call.dtype is None or self._is_server:
            answer = await self._ask(transcript.text, self.fields(call))
            check_dtype(answer, call.dtype)
            return answer
        params = {**call.params, "regex": None}
        if call.dtype is str:
            fields = self.fields(dataclasses.replace(call, params={**params, "stop": ['"']}))
            answer = await self._ask(transcript.text + '"', fields)
            return dataclasses.replace(answer, text=f'"{answer.text}"')
        fields = self.fields(dataclasses.replace(call, params={**params, "stop": ["\n"]}))
        return _first_value(await self._ask(transcript.text, fields), call.dtype)

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        """A dtype's value comes at once, when it is there."""
        if call.dtype is not None:
            yield await self.generate(transcript, call)
            return
        text, reason, usage = "", None, None
        async with await self._client.completions.create(
            model=self._name, prompt=transcript.text, **_STREAMED, **self.fields(call)
        ) as chunks:
            async for chunk in chunks:
                for choice in chunk.choices:
                    text += choice.text or ""
                    reason = choice.finish_reason or reason
                usage = chunk.usage or usage
                yield Answer(text, meta_info(chunk, reason, usage))
        self._usage.add(usage)

    async def select(
        self, transcript: Transcript, choices: Sequence[str], method: ChoicesMethod
    ) -> ChoicesDecision:
        """A choice's tokens are those that end behind the prompt's end. Alone, for methods that
        want that, a choice is a prompt of its own, of which as many tokens count, its last."""
        before = transcript.text
        own = await self._score([before + choice for choice in choices], len(before))
        alone = None
        if wants_unconditional(method):
            scored = await self._score(choices, 0)
            alone = [tokens[-len(mine) :] for tokens, mine in zip(scored, own, strict=True)]
        return method(
            choices=choices,
            normalized_prompt_logprobs=[mean_logprob(tokens) for tokens in own],
            input_token_logprobs=own,
            output_token_logprobs=[[] for _ in choices],
            unconditional_token_logprobs=alone,
        )

    def fields(self, call: Call) -> dict[str, Any]:
        """Arguments of the client."""
        also = ("json_schema",)
        return request_fields(call, limit="max_tokens", is_server=self._is_server, also=also)

    async def complete(self, prompt: str | Sequence[str], fields: dict[str, Any]) -> Any:
        """The client's own answer."""
        answer = await self._client.completions.create(model=self._name, prompt=prompt, **fields)
        self._usage.add(answer.usage)
        return answer

    async def _ask(self, prompt: str, fields: dict[str, Any]) -> Answer:
        answer = await self.complete(prompt, fields)
        choice = answer.choices[0]
        return Answer(choice.text, meta_info(answer, choice.finish_reason, answer.usage))

    async def _score(self, prompts: Sequence[str], start: int) -> list[list[Triple]]:
        """The logprobs of the tokens that end behind a place in the text."""
        fields = {"max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0.0}
        answer = await self.complete(list(prompts), fields)
        told = sorted(answer.choices, key=lambda choice: choice.index)
        return [
            _tokens_behind(choice.logprobs, prompt, start)
            for choice, prompt in zip(told, prompts, strict=True)
        ]


def _tokens_behind(logprobs: Any, prompt: str, start: int) -> list[Triple]:
    if logprobs is None or not logprobs.tokens:
        raise ProgramFailed(
            "The server does not tell the logprobs of a prompt (echo with logprobs), which select "
            "compares. Use gen with choices' texts in a regex, or an Engine."
        )
    ends = [*logprobs.text_offset[1:], len(prompt)]
    return [
        (logprob, _NO_ID, token)
        for logprob, token, end in zip(logprobs.token_logprobs, logprobs.tokens, ends, strict=True)
        if end > start
    ]


def _first_value(answer: Answer, dtype: type) -> Answer:
    found = re.match(rf"\s*({_VALUES[dtype]})", answer.text)
    if found is None:
        raise ProgramFailed(
            f"The model answered {answer.text!r:.200}, which is no {dtype.__name__}. Say in the "
            "prompt what to answer."
        )
    return dataclasses.replace(answer, text=found[1])

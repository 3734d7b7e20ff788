"""A chat between a client's form and the engine. Chat completions, responses and messages share it.

    ChatCall(messages=..., params=..., tools=..., ...)       what is asked, in no client's form
    Chat(call, service)                                      checks it; raises RequestError
        await chat.request() -> GenerationRequest            its prompt, rendered (to count tokens)
        await chat.start(is_streamed=...) -> ChatGeneration
    async for news in generation                             news: list[(index of sample, Event)]
    await generation.messages() -> list[ChatMessage]         or all at once, a message a sample
    generation.usage                                         openai_form.Usage, counted as they come

Events are in chat_events.py: Content, Reasoning, CallBegin, CallArguments, End. A ChatGeneration is
exhausted or closed, as a Generation is; EventStream takes either.
"""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from sgjax.errors import InvalidRequest
from sgjax.front.generator import LONG_TEXT, Generation
from sgjax.front.request import GenerationRequest
from sgjax.sampling_params import SamplingParams
from sgjax.text import ChatTemplate
from sgjax_server.chat_events import ChatMessage, Event
from sgjax_server.chat_reader import ChatReader
from sgjax_server.errors import Unsupported
from sgjax_server.openai_form import Usage
from sgjax_server.service import Service

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatCall:
    """What is asked of a chat. Messages, tools and tool_choice have the form that they have in
    OpenAI's chat completions: it is what templates are written for."""

    messages: Sequence[dict[str, Any]]
    params: SamplingParams
    """Its constraint, if it has one, holds for the answer: not for thoughts, not for calls."""
    tools: Sequence[Any] | None = None
    tool_choice: Any = None
    """"none", "auto", "required" or {"type": "function", "function": {"name": ...}}."""
    parallel_tool_calls: bool = True
    template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reasoning_effort: str | None = None
    """For templates that read it."""
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    separate_reasoning: bool = True
    """Whether thoughts come as Reasoning; else they stay in the content."""
    stream_reasoning: bool = True
    """Whether Reasoning comes as it grows; else in one event."""
    rid: str | None = None
    return_logprob: bool = False
    top_logprobs: int = 0
    cache_salt: str = ""


class Chat:
    """One call, checked.

    Raises:
        QueueFull: too much is under way.
        RequestError: the call is at fault.
    """

    def __init__(self, call: ChatCall, service: Service):
        service.generator.check_room(call.params.n)
        service.needs_tokenizer()
        if call.tools:
            raise Unsupported("tools are not supported by this server yet.", param="tools")
        _check_kwargs(call.template_kwargs)
        self._call = call
        self._service = service
        self._messages = [_message(message, at) for at, message in enumerate(call.messages)]

    async def request(self) -> GenerationRequest:
        """What the engine is asked for. Raises InvalidRequest where the template does."""
        call = self._call
        return GenerationRequest(
            prompt=await self._render(),
            params=call.params,
            rid=call.rid,
            return_logprob=call.return_logprob,
            top_logprobs=call.top_logprobs,
            cache_salt=call.cache_salt,
            add_special_tokens=False,
        )

    async def start(self, *, is_streamed: bool) -> "ChatGeneration":
        """Starts the samples. Raises what Service.start does too."""
        generation = await self._service.start([await self.request()], is_streamed=is_streamed)
        usage = Usage(generation, reports_cache=self._service.config.enable_cache_report)
        return ChatGeneration(generation, [ChatReader() for _ in generation.samples], usage)

    async def _render(self) -> str:
        """The prompt; long chats are rendered in a thread, so that streams go on meanwhile."""
        template = self._service.chat_template
        if template is None:
            raise InvalidRequest("This server has no chat template. Use /v1/completions.")
        size = sum(len(str(message.get("content"))) for message in self._messages)
        if size < LONG_TEXT:
            return self._render_by(template)
        return await asyncio.to_thread(self._render_by, template)

    def _render_by(self, template: ChatTemplate) -> str:
        call = self._call
        effort = (
            {} if call.reasoning_effort is None else {"reasoning_effort": call.reasoning_effort}
        )
        return template.render(
            self._messages,
            add_generation_prompt=call.add_generation_prompt,
            continue_final_message=call.continue_final_message,
            **{**effort, **call.template_kwargs},
        )


class ChatGeneration:
    """Samples of a chat under way: an asynchronous iterator of lists of (index of the sample,
    Event), those that came together.

    Who has no time for events where there is only text takes `pieces`, and reads those that are
    not plain.
    """

    def __init__(self, pieces: Generation, readers: list[ChatReader], usage: Usage):
        self.pieces = pieces
        self.readers = readers
        self.usage = usage
        """Who takes `pieces` adds them to it."""
        self.num_samples = len(readers)

    def __aiter__(self) -> "ChatGeneration":
        return self

    async def __anext__(self) -> list[tuple[int, Event]]:
        news: list[tuple[int, Event]] = []
        while not news:
            for index, piece in await anext(self.pieces):
                self.usage.add(index, piece)
                news += [(index, event) for event in self.readers[index].read(piece)]
        return news

    async def messages(self) -> list[ChatMessage]:
        """Exhausts it: all that each sample says."""
        messages = [ChatMessage() for _ in range(self.num_samples)]
        async with aclosing(self):
            async for news in self:
                for index, event in news:
                    messages[index].add(event)
        return messages

    async def aclose(self) -> None:
        """Aborts what has not ended. May be called twice."""
        await self.pieces.aclose()


def _message(message: dict[str, Any], index: int) -> dict[str, Any]:
    """Templates know no developer: the role is the newer name of system."""
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequest(
            f"messages[{index}].role must be one of {', '.join(ROLES)}, not {role!r}.",
            param=f"messages[{index}].role",
        )
    return message | {"role": "system"} if role == "developer" else message


def _check_kwargs(kwargs: Mapping[str, Any]) -> None:
    for name in ("messages", "tools", "add_generation_prompt", "continue_final_message"):
        if name in kwargs:
            raise InvalidRequest(
                f"chat_template_kwargs must not have {name!r}: it is a field of the request.",
                param="chat_template_kwargs",
            )

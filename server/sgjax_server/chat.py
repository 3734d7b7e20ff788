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
from contextlib import aclosing
from typing import Any

from sgjax.errors import InvalidRequest
from sgjax.front.generator import LONG_TEXT, Generation
from sgjax.front.request import GenerationRequest, check_task
from sgjax.text import ChatTemplate, with_stops
from sgjax_server.chat_call import ChatCall, check_kwargs, messages_of
from sgjax_server.chat_events import ChatMessage, Event
from sgjax_server.chat_reader import ChatReader
from sgjax_server.openai_form import Usage
from sgjax_server.reasoning.count import State, ThoughtCount
from sgjax_server.service import Service
from sgjax_server.tools.scanner import PartReader
from sgjax_server.tools.tool import ToolChoice, read_choice


class Chat:
    """One call, checked.

    Raises:
        QueueFull: too much is under way.
        RequestError: the call is at fault.
    """

    def __init__(self, call: ChatCall, service: Service):
        check_task(service.client.info, is_pooled=False)
        service.generator.check_room(call.params.n)
        self._tokenizer = service.needs_tokenizer()
        self._template = _template_of(service)
        check_kwargs(call.template_kwargs)
        self._call = call
        self._service = service
        self._formats = service.formats
        self._thinking = service.formats.reasoning
        self._choice = read_choice(
            call.tools, call.tool_choice, is_parallel=call.parallel_tool_calls
        )
        self._messages = messages_of(call)
        self._params = with_stops(call.params, self._template, self._tokenizer)
        if self._choice is not None:
            self._check_tools(self._choice)

    async def request(self) -> GenerationRequest:
        """What the engine is asked for. Raises InvalidRequest where the template does, or where
        tools cannot bind the output."""
        call = self._call
        if self._choice is not None and (self._choice.is_bound or call.params.is_constrained):
            self._params = await asyncio.to_thread(self._formats.bind, self._params, self._choice)
        prompt, state = self._begin(await self._render())
        return GenerationRequest(
            prompt=prompt,
            params=self._params,
            rid=call.rid,
            return_logprob=call.return_logprob,
            top_logprobs=call.top_logprobs,
            cache_salt=call.cache_salt,
            add_special_tokens=False,
            shown_tokens=self._shown_tokens,
            grammar_after=self._grammar_after(state),
        )

    async def start(self, *, is_streamed: bool) -> "ChatGeneration":
        """Starts the samples. Raises what Service.start does too."""
        request = await self.request()
        pieces = await self._service.start([request], is_streamed=is_streamed)
        state = self._begin(str(request.prompt))[1]
        usage = Usage(
            pieces,
            reports_cache=self._service.config.enable_cache_report,
            thoughts=[count for _ in pieces.samples if (count := self._count(state))],
        )
        return ChatGeneration(pieces, [self._reader(state) for _ in pieces.samples], usage)

    async def _render(self) -> str:
        """The prompt; long chats are rendered in a thread, so that streams go on meanwhile."""
        size = sum(_size(message.get("content")) for message in self._messages)
        size += _size(self._call.tools) if self._choice else 0
        return self._render_now() if size < LONG_TEXT else await asyncio.to_thread(self._render_now)

    def _render_now(self) -> str:
        call = self._call
        effort = (
            {} if call.reasoning_effort is None else {"reasoning_effort": call.reasoning_effort}
        )
        return self._template.render(
            self._messages,
            add_generation_prompt=call.add_generation_prompt,
            continue_final_message=call.continue_final_message,
            tools=[*call.tools] if self._choice and call.tools else None,
            **{**effort, **call.template_kwargs},
        )

    def _begin(self, prompt: str) -> tuple[str, State]:
        """The prompt, and whether the model thinks behind it. Where a grammar waits for the end of
        its thoughts they are sure to begin."""
        if self._thinking is None:
            return prompt, "closed"
        if self._params.is_constrained and not self._call.continue_final_message:
            prompt = self._thinking.opened(prompt)
        said = str(self._messages[-1].get("content")) if self._call.continue_final_message else ""
        return prompt, self._thinking.state_after(prompt, said)

    def _grammar_after(self, state: State) -> str | None:
        """The text behind which the grammar begins, if not at once."""
        if self._thinking is None or state == "closed" or not self._params.is_constrained:
            return None
        if self._choice is not None and self._formats.reads_thoughts_in_grammars:
            return None
        return self._thinking.answer_begins

    @property
    def _shown_tokens(self) -> tuple[str, ...]:
        tools = self._formats.tools if self._choice else None
        return (
            *(tools.markers if tools else ()),
            *(self._thinking.markers if self._thinking else ()),
        )

    def _reader(self, state: State) -> ChatReader:
        thoughts = calls = None
        thinking, tools, choice = self._thinking, self._formats.tools, self._choice
        if thinking and (self._call.separate_reasoning or thinking.is_needed):
            thoughts = PartReader(lambda source: thinking.read(source, state))
        if tools is None or choice is None:
            return ChatReader(thoughts, streams_thoughts=self._call.stream_reasoning)
        calls = PartReader(lambda source: tools.read(source, choice.tools))
        return ChatReader(
            thoughts,
            calls,
            new_id=tools.new_id,
            max_calls=None if choice.is_parallel else 1,
            streams_thoughts=self._call.stream_reasoning,
        )

    def _count(self, state: State) -> ThoughtCount | None:
        if self._thinking is None:
            return None
        return self._thinking.count(state, self._tokenizer.token_bytes)

    def _check_tools(self, choice: ToolChoice) -> None:
        self._formats.needs_tools()
        if not (choice.is_forced or self._template.shows_tools):
            raise InvalidRequest(
                "This model's chat template does not show tools to it, so it would know of none. "
                "Serve with a --chat-template that does, or force a call by tool_choice.",
                param="tools",
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


def _template_of(service: Service) -> ChatTemplate:
    if service.chat_template is None:
        raise InvalidRequest("This server has no chat template. Use /v1/completions.")
    return service.chat_template


def _size(value: Any) -> int:
    """About how many characters it has in a prompt; what is nested too deeply has many."""
    try:
        return len(str(value))
    except RecursionError:
        return LONG_TEXT

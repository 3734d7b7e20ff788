"""A sample's pieces of text, as the events of a chat."""

from collections.abc import Callable, Iterator

from sgjax.engine.messages import Logprobs
from sgjax.front.piece import Piece
from sgjax_server.chat_events import (
    CallArguments,
    CallBegin,
    Content,
    End,
    Event,
    Reasoning,
)
from sgjax_server.tools.format import new_call_id
from sgjax_server.tools.scanner import Arguments, Begin, Part, PartReader, Text, Thought


class ChatReader:
    """Reads one sample of a chat: first its thoughts, then calls in what is none."""

    def __init__(
        self,
        thoughts: PartReader | None = None,
        calls: PartReader | None = None,
        *,
        new_id: Callable[[], str] = new_call_id,
        max_calls: int | None = None,
        streams_thoughts: bool = True,
    ):
        """Calls past `max_calls` are left out. Without `streams_thoughts` thoughts come in one."""
        self._thoughts = thoughts
        self._calls = calls
        self._new_id = new_id
        self._max_calls = max_calls
        self._streams_thoughts = streams_thoughts
        self._held_thoughts = ""
        self._space = ""
        """White space at the end of the text: left out if a call comes next to it."""
        self._ids: set[str] = set()
        self._num_calls = 0
        self._is_behind_call = False

    def is_plain(self, piece: Piece) -> bool:
        """Whether the piece is nothing but text of the answer: then it need not be read."""
        return (
            piece.finish is None
            and piece.logprobs is None
            and self._calls is None
            and (self._thoughts is None or self._thoughts.is_done)
            and not self._held_thoughts
        )

    def read(self, piece: Piece) -> list[Event]:
        """The events of the next piece; the last of them is the End where it has a finish."""
        if self.is_plain(piece):
            return [Content(piece.text)] if piece.text else []
        is_last = piece.finish is not None
        events: list[Event] = []
        for part in self._parts(piece.text, is_last):
            events += self._events(part)
        if is_last:
            events += self._rest()
        if piece.logprobs is not None:
            _attach(events, piece.logprobs)
        if piece.finish is not None:
            calls = piece.finish.type == "stop" and self._num_calls
            events.append(End("tool_calls" if calls else piece.finish.type, piece.finish))
        return events

    def _parts(self, text: str, is_last: bool) -> Iterator[Part]:
        for part in _run(self._thoughts, text, is_last):
            if self._calls is None or type(part) is not Text:
                yield part
            else:
                yield from self._calls.feed(part.text)
        if self._calls is not None and is_last:
            yield from self._calls.finish()

    def _events(self, part: Part) -> Iterator[Event]:
        match part:
            case Thought(text):
                if self._streams_thoughts:
                    yield Reasoning(text)
                else:
                    self._held_thoughts += text
                return
            case Text(text):
                if shown := self._without_space(text):
                    yield from self._rest_of_thoughts()
                    yield Content(shown)
            case Begin(name, call_id):
                self._num_calls += 1
                self._space, self._is_behind_call = "", True
                if self._is_counted:
                    yield from self._rest_of_thoughts()
                    yield CallBegin(self._num_calls - 1, self._id(call_id), name)
            case Arguments(fragment):
                if self._is_counted:
                    yield CallArguments(self._num_calls - 1, fragment)

    @property
    def _is_counted(self) -> bool:
        return self._max_calls is None or self._num_calls <= self._max_calls

    def _id(self, given: str | None) -> str:
        """The model's own name for a call, if it is new."""
        call_id = self._new_id() if given is None or given in self._ids else given
        self._ids.add(call_id)
        return call_id

    def _without_space(self, text: str) -> str:
        """The text, as far as no call can take its white space away."""
        if self._calls is None:
            return text
        text = self._space + text
        if self._is_behind_call:
            text = text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        self._is_behind_call &= not shown
        return shown

    def _rest_of_thoughts(self) -> Iterator[Event]:
        held, self._held_thoughts = self._held_thoughts, ""
        if held:
            yield Reasoning(held)

    def _rest(self) -> Iterator[Event]:
        """What was held back, at the end."""
        yield from self._rest_of_thoughts()
        if self._space and not self._num_calls:
            yield Content(self._space)


def _run(reader: PartReader | None, text: str, is_last: bool) -> list[Part]:
    """The text's parts; all of it is Text where nobody reads it."""
    if reader is None:
        return [Text(text)] if text else []
    return reader.feed(text) + (reader.finish() if is_last else [])


def _attach(events: list[Event], logprobs: Logprobs) -> None:
    """Gives the first content logprobs, or makes one for them."""
    for index, event in enumerate(events):
        if type(event) is Content:
            events[index] = Content(event.text, logprobs)
            return
    events.insert(0, Content("", logprobs))

"""What a response says, as output items, and the events that tell of them while they grow."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from sgjax.text import Tokenizer
from sgjax_server.chat_events import CallArguments, CallBegin, Content, Event, Reasoning
from sgjax_server.openai_form import chat_logprobs
from sgjax_server.responses.items import Item, new_id

Told = dict[str, Any]
"""An event, still without its number."""

End = Literal["completed", "incomplete"]


class _Form(NamedTuple):
    """A kind of items whose content is one part of text."""

    prefix: str
    item: Item
    part: Item
    delta: str
    done: str


_MESSAGE = _Form(
    "msg",
    {"type": "message", "role": "assistant"},
    {"type": "output_text", "annotations": [], "logprobs": []},
    "response.output_text.delta",
    "response.output_text.done",
)
_THOUGHTS = _Form(
    "rs",
    {"type": "reasoning", "summary": []},
    {"type": "reasoning_text"},
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
)


class _TextItem:
    """A message, or thoughts."""

    def __init__(self, form: _Form, index: int):
        self.form = form
        self._id = new_id(form.prefix)
        self._index = index
        self._place = {"item_id": self._id, "output_index": index, "content_index": 0}
        self._text = ""
        self._logprobs: list[Any] = []

    def item(self, status: str) -> Item:
        content = [] if status == "in_progress" and not self._text else [self._part()]
        return {"id": self._id, **self.form.item, "content": content, "status": status}

    def begin(self) -> list[Told]:
        return [
            _added(self._index, self.item("in_progress")),
            {"type": "response.content_part.added", **self._place, "part": self._part()},
        ]

    def add(self, text: str, logprobs: Sequence[Any] = ()) -> list[Told]:
        self._text += text
        told: Told = {"type": self.form.delta, **self._place, "delta": text}
        if self.form is _MESSAGE:
            self._logprobs += logprobs
            told["logprobs"] = list(logprobs)
        return [told]

    def end(self, status: End) -> list[Told]:
        done: Told = {"type": self.form.done, **self._place, "text": self._text}
        if self.form is _MESSAGE:
            done["logprobs"] = self._logprobs
        part = {"type": "response.content_part.done", **self._place, "part": self._part()}
        return [done, part, _done(self._index, self.item(status))]

    def _part(self) -> Item:
        part = {**self.form.part, "text": self._text}
        return part | {"logprobs": list(self._logprobs)} if self.form is _MESSAGE else part


class _CallItem:
    """A call of a function."""

    def __init__(self, news: CallBegin, index: int):
        self._id = new_id("fc")
        self._call_id = news.id
        self._name = news.name
        self._index = index
        self._arguments = ""

    def item(self, status: str) -> Item:
        return {
            "id": self._id,
            "type": "function_call",
            "call_id": self._call_id,
            "name": self._name,
            "arguments": self._arguments,
            "status": status,
        }

    def begin(self) -> list[Told]:
        return [_added(self._index, self.item("in_progress"))]

    def add(self, fragment: str) -> list[Told]:
        self._arguments += fragment
        return [self._told("delta", {"delta": fragment})]

    def end(self, status: End) -> list[Told]:
        done = self._told("done", {"name": self._name, "arguments": self._arguments})
        return [done, _done(self._index, self.item(status))]

    def _told(self, name: str, rest: Told) -> Told:
        place = {"item_id": self._id, "output_index": self._index}
        return {"type": f"response.function_call_arguments.{name}", **place, **rest}


def _added(index: int, item: Item) -> Told:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _done(index: int, item: Item) -> Told:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


class Output:
    """The output items of a response: at most the last one still grows."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._ended: list[Item] = []
        self._open: _TextItem | _CallItem | None = None
        self._early: list[Any] = []
        """Logprobs of tokens that came before there was any text of them."""

    @property
    def items(self) -> list[Item]:
        growing = [] if self._open is None else [self._open.item("in_progress")]
        return [*self._ended, *growing]

    def take(self, news: Event) -> list[Told]:
        """Takes in the event that follows, if it is not the End."""
        match news:
            case Content(text, None):
                return self._add_text(text, [])
            case Content(text, logprobs):
                found = chat_logprobs(logprobs, self._tokenizer)
                return self._add_text(text, found["content"] if found else [])
            case Reasoning(text):
                told, thoughts = self._text_item(_THOUGHTS)
                return [*told, *thoughts.add(text)]
            case CallBegin():
                told = self._close("completed")
                self._open, self._early = _CallItem(news, len(self._ended)), []
                return [*told, *self._open.begin()]
            case CallArguments(_, fragment):
                assert isinstance(self._open, _CallItem)
                return self._open.add(fragment)
        return []

    def end(self, status: End) -> list[Told]:
        """Ends what still grows. Who said nothing at all said an empty message."""
        told = [] if self.items else self._text_item(_MESSAGE)[0]
        return [*told, *self._close(status)]

    def _add_text(self, text: str, logprobs: list[Any]) -> list[Told]:
        """Tokens without a text are a part of a character, or the end; or belong to thoughts or a
        call, while there is one: then their logprobs have no place."""
        if not text and not (isinstance(self._open, _TextItem) and self._open.form is _MESSAGE):
            if self._open is None:
                self._early += logprobs
            return []
        told, message = self._text_item(_MESSAGE)
        early, self._early = self._early, []
        return [*told, *message.add(text, [*early, *logprobs])]

    def _text_item(self, form: _Form) -> tuple[list[Told], _TextItem]:
        """The item of this form that grows, and what is told where it begins only now."""
        if isinstance(self._open, _TextItem) and self._open.form is form:
            return [], self._open
        told = self._close("completed")
        item = self._open = _TextItem(form, len(self._ended))
        if form is _THOUGHTS:
            self._early = []
        return [*told, *item.begin()], item

    def _close(self, status: End) -> list[Told]:
        if self._open is None:
            return []
        item, self._open = self._open, None
        told = item.end(status)
        self._ended.append(item.item(status))
        return told

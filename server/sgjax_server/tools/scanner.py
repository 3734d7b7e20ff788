"""A text that comes bit by bit, read as if it were all there.

A reader is a generator over a `Source`: it yields the parts it has found, yields WAIT where it
needs more of the text to go on, and returns when it is done. So a format is read by plain code,
top to bottom, and yet each part is out as soon as it is certain.
"""

import re
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeVar

Value = TypeVar("Value")


class Text(NamedTuple):
    """Text that is no call."""

    text: str


class Thought(NamedTuple):
    """Text that is no part of the answer: the model thinks."""

    text: str


class Begin(NamedTuple):
    """A call begins."""

    name: str
    id: str | None = None
    """As the model named it; mostly it does not."""


class Arguments(NamedTuple):
    """More of the arguments of the call that began last: JSON text."""

    fragment: str


Part = Text | Thought | Begin | Arguments
WAIT = None
"""Yielded by a reader that cannot go on until there is more text, or none will come."""

_SPACE = re.compile(r"\s*")

Reading = Generator[Part | None, None, Value]
Emit = Callable[[str], Part]


class Source:
    """What has come of a text, and how far it was read."""

    def __init__(self) -> None:
        self.is_over = False
        """Whether no more will come."""
        self._text = ""
        self._at = 0
        self._kept_from: int | None = None

    @property
    def rest(self) -> str:
        """What has come and was not read."""
        return self._text[self._at :]

    def add(self, text: str) -> None:
        done = self._at if self._kept_from is None else self._kept_from
        self._text = self._text[done:] + text
        self._at -= done
        if self._kept_from is not None:
            self._kept_from = 0

    def read(self, count: int) -> str:
        """The next characters, at most so many as there are."""
        text = self._text[self._at : self._at + count]
        self._at += len(text)
        return text

    def read_all(self) -> str:
        """All that has come and was not read."""
        return self.read(len(self._text))

    def match(self, pattern: re.Pattern[str]) -> str:
        """Reads what the pattern matches."""
        found = pattern.match(self._text, self._at)
        return self.read(len(found[0])) if found else ""

    def peek(self, count: int) -> str:
        """The next characters, which stay unread."""
        return self._text[self._at : self._at + count]

    @property
    def is_empty(self) -> bool:
        """Whether all that has come was read."""
        return self._at == len(self._text)

    def find(self, text: str, start: int = 0) -> int:
        """How far ahead the text stands, from `start` on; -1: nowhere."""
        found = self._text.find(text, self._at + start)
        return found if found < 0 else found - self._at

    def starts_with(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def keep(self) -> None:
        """From here on what is read can be read again: by `back`, until `drop`."""
        self._kept_from = self._at

    def back(self) -> str:
        """What was read since `keep`, which is over."""
        start, self._kept_from = self._kept_from, None
        return self._text[self._at if start is None else start : self._at]

    def drop(self) -> None:
        self._kept_from = None


class PartReader:
    """Runs a reader over text as it comes. What is left when the reader has returned is Text."""

    def __init__(self, read: Callable[[Source], Reading[None]]):
        self._source = Source()
        self._reading = read(self._source)
        self.is_done = False
        """Whether the reader has returned."""

    def feed(self, text: str) -> list[Part]:
        """The parts that this text makes certain."""
        self._source.add(text)
        return self._run()

    def finish(self) -> list[Part]:
        """The parts that are certain when no more comes."""
        self._source.is_over = True
        return self._run()

    def _run(self) -> list[Part]:
        parts: list[Part] = []
        for part in self._reading:
            if part is None:
                return parts
            if part[0]:
                parts.append(part)
        self.is_done = True
        if rest := self._source.read_all():
            parts.append(Text(rest))
        return parts


def text_until(
    source: Source, ends: Sequence[str], emit: Emit = Text, *, leaves_end: bool = False
) -> Reading[str | None]:
    """Passes text on up to the first of `ends`, which is read (or left) and returned; None: there
    is none. What may be the beginning of an end is held back.
    """
    while True:
        found = [(at, -len(end), end) for end in ends if (at := source.find(end)) >= 0]
        if found:
            at, _, end = min(found)
            yield emit(source.read(at))
            if not leaves_end:
                source.read(len(end))
            return end
        rest = source.rest
        held = 0 if source.is_over else max(_overlap(rest, end) for end in ends)
        if len(rest) > held:
            yield emit(source.read(len(rest) - held))
        if source.is_over:
            return None
        yield WAIT


def collect(reading: Reading[Value], into: list[str]) -> Reading[Value]:
    """Runs a reader whose parts are not passed on: their texts go to `into`."""
    while True:
        try:
            part = next(reading)
        except StopIteration as end:
            return end.value
        if part is None:
            yield WAIT
        else:
            into.append(part[0])


def collect_until(
    source: Source, ends: Sequence[str], *, leaves_end: bool = False
) -> Reading[tuple[str, str | None]]:
    """The text up to the first of `ends`, and that one, as text_until has it."""
    texts: list[str] = []
    end = yield from collect(text_until(source, ends, leaves_end=leaves_end), texts)
    return "".join(texts), end


def next_is(source: Source, text: str) -> Reading[bool]:
    """Whether the text comes next; waits while it may. It is not read."""
    while not source.starts_with(text):
        if source.is_over or not text.startswith(source.peek(len(text))):
            return False
        yield WAIT
    return True


def skip(source: Source, text: str) -> Reading[bool]:
    """Reads the text if it comes next; whether it does."""
    found = yield from next_is(source, text)
    if found:
        source.read(len(text))
    return found


def skip_after_space(source: Source, text: str) -> Reading[bool]:
    """Reads the text, and white space before it, if they come next; whether they do. White space
    before something else is Text."""
    source.keep()
    yield from skip_space(source)
    if (yield from skip(source, text)):
        source.drop()
        return True
    yield Text(source.back())
    return False


def skip_space(source: Source) -> Reading[str]:
    """Reads white space. Returns the character behind it, which stays unread; "" at the end."""
    while True:
        source.match(_SPACE)
        if source.is_over or not source.is_empty:
            return source.peek(1)
        yield WAIT


def _overlap(text: str, end: str) -> int:
    """How many of the text's last characters may be the beginning of `end`."""
    for count in range(min(len(text), len(end) - 1), 0, -1):
        if end.startswith(text[-count:]):
            return count
    return 0

"""Thoughts between two tags, before the answer: DeepSeek R1, Qwen3, GLM, Kimi and others."""

import dataclasses
from collections.abc import Callable

from sgjax_server.reasoning.count import State, ThoughtCount
from sgjax_server.tools.scanner import (
    Reading,
    Source,
    Text,
    Thought,
    skip,
    skip_space,
    text_until,
)


@dataclasses.dataclass(frozen=True)
class Thinking:
    """Thoughts between `begin` and `end`; white space at their ends belongs to neither side."""

    begin: str = "<think>"
    end: str = "</think>"
    is_assumed: bool = False
    """Whether the model thinks even where neither the prompt nor the output begins with `begin`."""

    is_needed = False

    @property
    def markers(self) -> tuple[str, ...]:
        return self.begin, self.end

    @property
    def answer_begins(self) -> str:
        return self.end

    def state_after(self, prompt: str, said: str = "") -> State:
        if said:
            return "open" if said.rfind(self.begin) > said.rfind(self.end) else "closed"
        tail = prompt.rstrip()
        if tail.endswith(self.begin):
            return "open"
        if tail.endswith(self.end):
            return "closed"
        return "unknown"

    def opened(self, prompt: str) -> str:
        return f"{prompt}{self.begin}\n" if self.state_after(prompt) == "unknown" else prompt

    def count(self, state: State, bytes_of: Callable[[int], bytes]) -> ThoughtCount:
        is_open = state == "open" or (self.is_assumed and state == "unknown")
        return ThoughtCount(self.begin, self.end, "open" if is_open else state, bytes_of)

    def read(self, source: Source, state: State) -> Reading[None]:
        if state == "closed":
            return
        source.keep()
        yield from skip_space(source)
        begins = yield from skip(source, self.begin)
        if not begins and state == "unknown" and not self.is_assumed:
            yield Text(source.back())
            return
        source.drop()
        yield from skip_space(source)
        yield from _trimmed(text_until(source, [self.end], Thought))
        yield from skip_space(source)


def _trimmed(reading: Reading[str | None]) -> Reading[None]:
    """Without the white space at the end."""
    held = ""
    for part in reading:
        if part is None:
            yield None
            continue
        text = held + part[0]
        held = text[len(text.rstrip()) :]
        yield Thought(text.rstrip())

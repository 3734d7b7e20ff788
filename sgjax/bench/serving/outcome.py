"""What came of one request."""

import dataclasses
from typing import Any


@dataclasses.dataclass(slots=True, eq=False)
class Outcome:
    """Times are seconds of one clock."""

    begin: float
    end: float = 0.0
    times: list[float] = dataclasses.field(default_factory=list)
    """When events came that brought tokens."""
    counts: list[int] = dataclasses.field(default_factory=list)
    """Tokens that had come by then, where the server says so."""
    num_prompt: int | None = None
    num_output: int | None = None
    """As the server counts them; None where it does not say."""
    num_cached: int | None = None
    error: str | None = None
    answer: Any = dataclasses.field(default_factory=list)
    """Pieces of text, or the last event of a stream of cumulative ones."""
    last: bytes | None = None

    def add_event(self, now: float, count: int | None = None) -> None:
        """Tokens have come; `count` in all."""
        if count is not None:
            if count <= (self.num_output or 0):
                return
            self.counts.append(count)
            self.num_output = count
        self.times.append(now)

    def fail(self, reason: str) -> None:
        self.error = self.error or reason

    @property
    def ttft_s(self) -> float:
        """Seconds to the first token."""
        return self.times[0] - self.begin

    @property
    def e2e_s(self) -> float:
        """Seconds to the end of the stream."""
        return self.end - self.begin

    @property
    def output_tokens(self) -> int:
        """As the server counts them, or the events that brought any."""
        return len(self.times) if self.num_output is None else self.num_output

    @property
    def itl_s(self) -> list[float]:
        """Seconds between an event that brought tokens and the next."""
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]

    @property
    def tpot_s(self) -> float | None:
        """Seconds a token after the first; None where there is none."""
        if self.output_tokens < 2:
            return None
        return (self.times[-1] - self.times[0]) / (self.output_tokens - 1)

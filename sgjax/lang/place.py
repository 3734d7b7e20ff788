"""Where a program stood when it appended something: for errors that come when it has gone on."""

import dataclasses
import os
import sys
from pathlib import Path
from types import FrameType, TracebackType

_OURS = f"{Path(__file__).parent}{os.sep}"
_BEGIN = "Run._call"
"""What calls a program's function."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A line of a program, and the calls that led to it."""

    steps: tuple[tuple[FrameType, int, int], ...] = ()
    """Frame, instruction and line; the innermost first."""

    def __str__(self) -> str:
        if not self.steps:
            return ""
        frame, _, line = self.steps[0]
        return f"{frame.f_code.co_filename}:{line}"

    def traceback(self) -> TracebackType | None:
        """As that of an error raised there."""
        trace = None
        for frame, instruction, line in self.steps:
            trace = TracebackType(trace, frame, instruction, line)
        return trace


NOWHERE = Place()


def here() -> Place:
    """Where the program is now: outside of the language, up to what runs the program."""
    steps: list[tuple[FrameType, int, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_OURS):
            steps.append((frame, frame.f_lasti, frame.f_lineno))
        elif code.co_qualname == _BEGIN:
            break
        frame = frame.f_back
    return Place(tuple(steps))

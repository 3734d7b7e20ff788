"""What a program has said and heard so far: the text that a model reads, and the messages."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.chat_template import ChatTemplate
from sgjax.lang.expressions import Expression, RoleBegin, RoleEnd


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the text."""

    text: str
    ids: tuple[int, ...] | None = None
    """The tokens that the model made it of; None: it is the program's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """An image or a video, and where in the text it stands."""

    kind: str
    data: bytes
    at: int
    num_frames: int | None = None


def role_behind(part: Expression, role: str | None) -> str | None:
    """Whose message is open behind a part of a program, where `role`'s was before it.

    Raises:
        InvalidProgram: a message begins within another, or ends that has not begun.
    """
    match part:
        case RoleBegin(begun) if role is not None:
            raise InvalidProgram(
                f"The {begun} message cannot begin inside of the {role} message. End that first: "
                f"{role}_end()."
            )
        case RoleBegin(begun):
            return begun
        case RoleEnd(ended) if role != ended:
            open_ = f"the {role} message is open" if role else "no message is open"
            raise InvalidProgram(f"{ended}_end() without its beginning: {open_}.")
        case RoleEnd():
            return None
    return role


class Transcript:
    """Grows by appending. `copy` is cheap."""

    def __init__(self, template: ChatTemplate):
        self.template = template
        self.segments: list[Segment] = []
        self.messages: list[dict[str, Any]] = []
        """Those that have ended, in OpenAI's form."""
        self.attachments: list[Attachment] = []
        self.role: str | None = None
        """Whose message is open."""
        self.has_loose_text = False
        """Whether something was said outside of messages."""
        self.memo: Any = None
        """A backend's own, of the segments so far; it must not be changed, only replaced."""
        self._length = 0
        self._message_at = 0
        self._suffix = ""

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)

    @property
    def length(self) -> int:
        """Of the text, in characters."""
        return self._length

    @property
    def open_text(self) -> str:
        """What the open message says so far."""
        return self.text[self._message_at :].lstrip()

    def append(self, text: str, ids: Sequence[int] | None = None) -> None:
        if self.role is None and text.strip():
            self.has_loose_text = True
        if text or ids:
            self.segments.append(Segment(text, None if ids is None else tuple(ids)))
            self._length += len(text)

    def attach(self, kind: str, data: bytes, num_frames: int | None = None) -> None:
        self.attachments.append(Attachment(kind, data, self._length, num_frames))
        self.append(self.template.image_token)

    def begin_role(self, role: str) -> None:
        """Begins a message; before the first that is no system's comes the template's own.

        Raises:
            InvalidProgram: another message is open.
        """
        role_behind(RoleBegin(role), self.role)
        default = self.template.default_system_prompt
        if role != "system" and not self.messages and default is not None:
            self.begin_role("system")
            self.append(default)
            self.end_role("system")
        prefix, self._suffix = self.template.prefix_and_suffix(role, self.messages)
        self.role = role
        self.append(prefix)
        self._message_at = self._length

    def end_role(self, role: str) -> None:
        """Raises InvalidProgram if no such message is open."""
        role_behind(RoleEnd(role), self.role)
        self.messages.append({"role": role, "content": self._content()})
        self.append(self._suffix)
        self.role = None

    def open_messages(self) -> list[dict[str, Any]]:
        """All messages, the open one too if it says anything."""
        if self.role is None or not self.open_text:
            return list(self.messages)
        return [*self.messages, {"role": self.role, "content": self._content()}]

    def copy(self) -> "Transcript":
        other = Transcript(self.template)
        other.segments, other.messages = list(self.segments), list(self.messages)
        other.attachments = list(self.attachments)
        other.role, other.memo = self.role, self.memo
        other.has_loose_text = self.has_loose_text
        other._length, other._message_at = self._length, self._message_at
        other._suffix = self._suffix
        return other

    def _content(self) -> Any:
        """Text, or a list of parts where there are images."""
        inside = [each for each in self.attachments if each.at >= self._message_at]
        if not inside:
            return self.open_text
        from sgjax.lang.media import image_part

        # Images first, as they mostly stand; a text between two is one text behind them.
        text = self._text_without(inside).lstrip()
        return [*map(image_part, inside), {"type": "text", "text": text}]

    def _text_without(self, inside: Sequence[Attachment]) -> str:
        """The open message's, without what stands for these."""
        text, begin, pieces = self.text, self._message_at, []
        for each in inside:
            pieces.append(text[begin : each.at])
            begin = each.at + len(self.template.image_token)
        return "".join([*pieces, text[begin:]])

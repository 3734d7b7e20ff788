"""Messages as APIs of chats want them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.media import image_part
from sgjax.lang.transcript import Transcript

Message = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Chat:
    """A chat that waits for the assistant."""

    messages: list[Message]
    """In OpenAI's form."""
    begun: str
    """What the answer, already, begins with."""


def chat_of(transcript: Transcript, api: str) -> Chat:
    """Raises InvalidProgram unless a message of the assistant's is open."""
    if transcript.role != "assistant":
        where = f"within a {transcript.role} message" if transcript.role else "outside of messages"
        raise InvalidProgram(
            f"The model of {api} answers chats, but this call of it stands {where}. It must follow "
            "the beginning of an assistant's message: s += assistant(gen(...))."
        )
    if transcript.has_loose_text:
        raise InvalidProgram(
            f"The model of {api} reads messages only, but the program said something outside of "
            "them. Put it into a system's or a user's message."
        )
    return Chat(list(transcript.messages), transcript.open_text)


def chat_or_text_of(transcript: Transcript, api: str) -> Chat:
    """The same; a program that has no messages at all is one message of the user's."""
    if transcript.messages or transcript.role is not None:
        return chat_of(transcript, api)
    parts = [image_part(each) for each in transcript.attachments]
    text = transcript.text
    if parts:
        text = text.replace(transcript.template.image_token, "")
    content = [*parts, {"type": "text", "text": text}] if parts else text
    return Chat([{"role": "user", "content": content}], "")


def without_beginning(chat: Chat, api: str) -> list[Message]:
    """The messages, for an API that begins each answer itself.

    Raises:
        InvalidProgram: the answer has begun.
    """
    if chat.begun:
        raise InvalidProgram(
            f"The assistant's message begins with {chat.begun!r:.80}, but {api} cannot go on from "
            "the middle of a message. Ask for the beginning in the user's message, or run the "
            "program on an Engine or on a server of sgjax's."
        )
    return chat.messages


def split_system(messages: Sequence[Message], api: str) -> tuple[str, list[Message]]:
    """The system messages that a chat begins with, and the rest.

    Raises:
        InvalidProgram: there are others.
    """
    count = 0
    while count < len(messages) and messages[count]["role"] == "system":
        count += 1
    rest = list(messages[count:])
    if any(message["role"] == "system" for message in rest):
        raise InvalidProgram(
            f"{api} reads system messages only at a chat's beginning. Put it there, or say it in a "
            "user's message."
        )
    if any(not isinstance(message["content"], str) for message in messages[:count]):
        raise InvalidProgram(f"{api} reads no images in system messages. Put them in a user's.")
    return "\n\n".join(message["content"] for message in messages[:count]), rest


def parts_of(message: Message) -> list[Mapping[str, Any]]:
    """Its content as parts: {"text": ...}, or {"kind": "image/png", "data": base64}."""
    content = message["content"]
    if isinstance(content, str):
        return [{"text": content}]
    return [_part(part) for part in content if part.get("text") != ""]


def _part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part["type"] == "text":
        return {"text": part["text"]}
    head, data = part["image_url"]["url"].split(",", 1)
    return {"kind": head.removeprefix("data:").removesuffix(";base64"), "data": data}

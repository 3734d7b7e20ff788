"""gpt-oss: messages to a recipient, in OpenAI's harmony format.

<|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>

What stands around calls (channels, thoughts) is read by the reasoning parser, which leaves calls as
they are. https://github.com/openai/harmony
"""

import re

from sgjax_server.tools.format import NAME, CallForm, ToolFormat
from sgjax_server.tools.json_text import json_arguments
from sgjax_server.tools.lark import TEXT, Lark
from sgjax_server.tools.scanner import (
    Begin,
    Reading,
    Source,
    Text,
    collect_until,
    skip,
    skip_space,
    text_until,
)
from sgjax_server.tools.tool import Tools

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
MARKERS = (START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL, RETURN)
RECIPIENT = re.compile(r"\bto=(?:functions\.)?([\w.-]+)")


def read(source: Source, tools: Tools) -> Reading[None]:
    while tag := (yield from text_until(source, [START, CHANNEL])):
        source.keep()
        header, end = yield from collect_until(source, [MESSAGE])
        found = RECIPIENT.search(header)
        if end is None or found is None:
            yield Text(tag + source.back())
            continue
        source.drop()
        yield Begin(found[1])
        yield from json_arguments(source)
        yield from skip_space(source)
        yield from skip(source, CALL)


def _thoughts(lark: Lark) -> str:
    """The model may think before it calls."""
    begin, end = f"{CHANNEL}analysis{MESSAGE}", f"{END}{START}assistant"
    return f"({lark.text(begin)} ({TEXT})? {lark.text(end)})*"


_FORM = CallForm(
    trigger=CHANNEL,
    begin=f"{CHANNEL}commentary to=functions.{NAME} {CONSTRAIN}json{MESSAGE}",
    end="",
    before=_thoughts,
    answer_begin=f"{CHANNEL}final{MESSAGE}",
    is_single=True,
)

FORMAT = ToolFormat(read=read, form=lambda _: _FORM, markers=MARKERS, reasoning="gpt-oss")

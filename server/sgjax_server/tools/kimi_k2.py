"""Kimi K2: calls between special tokens, each with an id that counts: functions.f:0.

https://huggingface.co/moonshotai/Kimi-K2-Instruct/blob/main/docs/tool_call_guidance.md
"""

import re

from sgjax_server.tools.format import NAME, NUMBER, CallForm, ToolFormat
from sgjax_server.tools.json_text import json_arguments
from sgjax_server.tools.scanner import (
    Begin,
    Reading,
    Source,
    Text,
    collect_until,
    skip,
    skip_after_space,
    skip_space,
    text_until,
)
from sgjax_server.tools.tool import Tools

BEGIN, END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, ARGS, CALL_END = (
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
)
_ID = re.compile(r"\s*((?:functions\.)?([\w.-]+?)(?::\d+)?)\s*")


def read(source: Source, tools: Tools) -> Reading[None]:
    while tag := (yield from text_until(source, [BEGIN, CALL])):
        source.keep()
        if tag == BEGIN:
            yield from skip_space(source)
            if not (yield from skip(source, CALL)):
                yield Text(tag + source.back())
                continue
        call_id, end = yield from collect_until(source, (ARGS, CALL_END))
        found = _ID.fullmatch(call_id)
        if end != ARGS or not found:
            yield Text(tag + source.back())
            continue
        source.drop()
        yield Begin(found[2], found[1])  # its template shows the id to the model again
        yield from json_arguments(source)
        yield from skip_space(source)
        yield from skip(source, CALL_END)
        yield from skip_after_space(source, END)


_FORM = CallForm(
    trigger=BEGIN,
    opening=BEGIN,
    begin=f"{CALL}functions.{NAME}:{NUMBER}{ARGS}",
    end=CALL_END,
    closing=END,
)

FORMAT = ToolFormat(read=read, form=lambda _: _FORM, markers=(BEGIN, END, CALL, ARGS, CALL_END))

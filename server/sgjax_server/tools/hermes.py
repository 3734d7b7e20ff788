"""Hermes and Qwen: <tool_call>{"name": "f", "arguments": {...}}</tool_call>, each call apart.

https://qwen.readthedocs.io/en/latest/framework/function_call.html
"""

from sgjax_server.tools.format import NAME, CallForm, ToolFormat
from sgjax_server.tools.json_text import json_call
from sgjax_server.tools.scanner import (
    Reading,
    Source,
    Text,
    skip_after_space,
    skip_space,
    text_until,
)
from sgjax_server.tools.tool import Tools

BEGIN, END = "<tool_call>", "</tool_call>"


def read(source: Source, tools: Tools) -> Reading[None]:
    while (yield from text_until(source, [BEGIN])):
        source.keep()
        yield from skip_space(source)
        if not (yield from json_call(source)):
            yield Text(BEGIN + source.back())
            continue
        yield from skip_after_space(source, END)


_FORM = CallForm(
    trigger=BEGIN,
    begin=f'{BEGIN}\n{{"name": "{NAME}", "arguments": ',
    end=f"}}\n{END}",
    between="\n",
)

FORMAT = ToolFormat(read=read, form=lambda _: _FORM, markers=(BEGIN, END))

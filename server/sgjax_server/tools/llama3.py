"""Llama 3.1 and later: {"name": "f", "parameters": {...}}, maybe behind <|python_tag|>; more behind
";". https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/#-tool-calling-(8b/70b/405b)-

Without the tag nothing tells a call from an answer in JSON, but its place and its name: it is the
first of the output, and names a tool.
"""

from collections.abc import Callable

from sgjax_server.tools.format import NAME, CallForm, ToolFormat
from sgjax_server.tools.json_text import json_call
from sgjax_server.tools.scanner import Reading, Source, Text, skip_space, text_until
from sgjax_server.tools.tool import Tools

TAG = "<|python_tag|>"


def read(source: Source, tools: Tools) -> Reading[None]:
    yield from _calls(source, "", tools.__contains__)
    while (yield from text_until(source, [TAG])):
        yield from _calls(source, TAG, bool)


def _calls(source: Source, tag: str, is_name: Callable[[str], bool]) -> Reading[None]:
    """Calls, as many as follow one another; what is none becomes text, with the tag before it."""
    while True:
        source.keep()
        while (yield from skip_space(source)) in (";", ","):
            if tag or source.is_empty:
                break
            source.read(1)
        if not (yield from json_call(source, is_name)):
            yield Text(tag + source.back())
            return
        tag = ""


_FORM = CallForm(
    trigger="",
    tag=TAG,
    begin=f'{{"name": "{NAME}", "parameters": ',
    end="}",
    between="; ",
)

FORMAT = ToolFormat(read=read, form=lambda _: _FORM, markers=(TAG,))

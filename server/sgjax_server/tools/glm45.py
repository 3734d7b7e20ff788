"""GLM 4.5: <tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value></tool_call>.

https://huggingface.co/zai-org/GLM-4.5
"""

import re

from sgjax_server.tools.format import NAME, CallForm, ToolFormat
from sgjax_server.tools.scanner import (
    Begin,
    Reading,
    Source,
    Text,
    collect_until,
    skip_after_space,
    text_until,
)
from sgjax_server.tools.tagged import Tags, lark_tagged, read_tagged
from sgjax_server.tools.tool import Tools

_NAME = re.compile(r"\s*[\w.-]+\s*")

BEGIN, END = "<tool_call>", "</tool_call>"
_TAGS = Tags(
    key="<arg_key>",
    key_end="</arg_key>",
    value="<arg_value>",
    value_end="</arg_value>",
    between="\n",
)
_MARKERS = (BEGIN, END, _TAGS.key, _TAGS.key_end, _TAGS.value, _TAGS.value_end)


def read(source: Source, tools: Tools) -> Reading[None]:
    while (yield from text_until(source, [BEGIN])):
        source.keep()
        ends = (_TAGS.key, END)
        name, end = yield from collect_until(source, ends, leaves_end=True)
        if end is None or not _NAME.fullmatch(name):
            yield Text(BEGIN + source.back())
            continue
        source.drop()
        yield Begin(name.strip())
        yield from read_tagged(source, _TAGS, tools.get(name.strip()), END)
        yield from skip_after_space(source, END)


_FORM = CallForm(
    trigger=BEGIN,
    begin=f"{BEGIN}{NAME}\n",
    end=END,
    between="\n",
    arguments=lambda tool, lark: lark_tagged(_TAGS, "\n", tool, lark),
)

FORMAT = ToolFormat(read=read, form=lambda _: _FORM, markers=_MARKERS)

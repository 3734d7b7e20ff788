"""Qwen3-Coder: <tool_call><function=f><parameter=k>v</parameter></function></tool_call>.

https://huggingface.co/Qwen/Qwen3-Coder-480B-A35B-Instruct
"""

from sgjax_server.tools.format import NAME, CallForm, ToolFormat
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
from sgjax_server.tools.tagged import Tags, lark_tagged, read_tagged
from sgjax_server.tools.tool import Tools

BEGIN, END = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
_TAGS = Tags(key="<parameter=", key_end=">", value_end="</parameter>", pad="\n")


def read(source: Source, tools: Tools) -> Reading[None]:
    """Some models leave out <tool_call>: the function's tag is enough."""
    while tag := (yield from text_until(source, [BEGIN, FUNCTION])):
        source.keep()
        if tag == BEGIN:
            yield from skip_space(source)
            if not (yield from skip(source, FUNCTION)):
                yield Text(tag + source.back())
                continue
        name, end = yield from collect_until(source, [">"])
        if end is None or not (name := name.strip()):
            yield Text(tag + source.back())
            continue
        source.drop()
        yield Begin(name)
        yield from read_tagged(source, _TAGS, tools.get(name), FUNCTION_END)
        yield from skip_after_space(source, FUNCTION_END)
        yield from skip_after_space(source, END)


_FORM = CallForm(
    trigger=BEGIN,
    begin=f"{BEGIN}\n{FUNCTION}{NAME}>\n",
    end=f"{FUNCTION_END}\n{END}",
    between="\n",
    arguments=lambda tool, lark: lark_tagged(_TAGS, "\n", tool, lark),
)

FORMAT = ToolFormat(read=read, form=lambda _: _FORM, markers=(BEGIN, END))

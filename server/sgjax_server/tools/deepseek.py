"""DeepSeek V3, R1 and V3.1: calls between words of special tokens, the arguments in JSON.

V3:   …calls▁begin…call▁begin…function…sep…f\\n```json\\n{...}\\n```…call▁end…calls▁end
V3.1: …calls▁begin…call▁begin…f…sep…{...}…call▁end…calls▁end

https://huggingface.co/deepseek-ai/DeepSeek-V3.1
"""

from sgjax_server.tools.format import NAME, CallForm, ToolFormat
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

_BAR = "\uff5c"  # not "|"
BEGIN, END, CALL, CALL_END, SEP = (
    f"<{_BAR}tool▁{name}{_BAR}>"
    for name in ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep")
)
FENCE = "```"


def read(source: Source, tools: Tools) -> Reading[None]:
    """Either version: where V3 has the word "function", V3.1 has the name."""
    while tag := (yield from text_until(source, [BEGIN, CALL])):
        source.keep()
        if tag == BEGIN:
            yield from skip_space(source)
            if not (yield from skip(source, CALL)):
                yield Text(tag + source.back())
                continue
        if not (yield from _call(source)):
            yield Text(tag + source.back())
            continue
        yield from skip_after_space(source, END)


def _call(source: Source) -> Reading[bool]:
    name, end = yield from collect_until(source, (SEP, CALL_END))
    if end != SEP:
        return False
    if (yield from skip_space(source)) != "{":
        name, end = yield from collect_until(source, (FENCE, CALL_END))
        if end != FENCE:
            return False
        yield from skip(source, "json")
    if not (name := name.strip()):
        return False
    source.drop()
    yield Begin(name)
    yield from json_arguments(source)
    yield from skip_space(source)
    yield from skip(source, FENCE)
    yield from skip(source, CALL_END)
    return True


_V3 = CallForm(
    trigger=BEGIN,
    opening=BEGIN,
    begin=f"{CALL}function{SEP}{NAME}\n{FENCE}json\n",
    end=f"\n{FENCE}{CALL_END}",
    between="\n",
    closing=END,
)
_V31 = CallForm(trigger=BEGIN, opening=BEGIN, begin=f"{CALL}{NAME}{SEP}", end=CALL_END, closing=END)
_MARKERS = (BEGIN, END, CALL, CALL_END, SEP)

V3 = ToolFormat(read=read, form=lambda _: _V3, markers=_MARKERS)
V31 = ToolFormat(read=read, form=lambda _: _V31, markers=_MARKERS)

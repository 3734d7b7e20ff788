"""Mistral: [TOOL_CALLS] [{"name": "f", "arguments": {...}}, ...], and since 2025
[TOOL_CALLS]f[ARGS]{...}, each call apart. https://docs.mistral.ai/capabilities/function_calling
"""

import re
import secrets
import string
from collections.abc import Container

from sgjax_server.tools.format import NAME, CallForm, ToolFormat
from sgjax_server.tools.json_text import json_arguments, json_call
from sgjax_server.tools.scanner import (
    Begin,
    Reading,
    Source,
    Text,
    collect_until,
    skip_after_space,
    skip_space,
    text_until,
)
from sgjax_server.tools.tool import Tools

BEGIN, ID, ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
_NAME = re.compile(r"\s*[\w.-]+\s*")


def read(source: Source, tools: Tools) -> Reading[None]:
    while (yield from text_until(source, [BEGIN])):
        source.keep()
        first = yield from skip_space(source)
        if first == "[":
            source.read(1)
            yield from _list(source)
        elif first == "{":
            is_call = yield from json_call(source)
            if not is_call:
                yield Text(BEGIN + source.back())
        else:
            yield from _compact(source)


def _list(source: Source) -> Reading[None]:
    tag = BEGIN
    while (first := (yield from skip_space(source))) in ("{", ","):
        if first == ",":
            source.read(1)
            continue
        if not tag:
            source.keep()
        if not (yield from json_call(source)):
            yield Text(tag + source.back())
            return
        tag = ""
    if tag:
        yield Text(tag + source.back())
    yield from skip_after_space(source, "]")


def _compact(source: Source) -> Reading[None]:
    """A name, maybe the model's id for the call, and arguments."""
    name, end = yield from collect_until(source, (ARGS, ID, BEGIN))
    if end == ID:
        _, end = yield from collect_until(source, (ARGS, BEGIN))
    if end != ARGS or not _NAME.fullmatch(name):
        yield Text(BEGIN + source.back())
        return
    source.drop()
    yield Begin(name.strip())
    yield from json_arguments(source)


def new_id() -> str:
    """Mistral's templates take ids of nine letters and digits only."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


_LIST = CallForm(
    trigger=BEGIN,
    opening=f"{BEGIN} [",
    begin=f'{{"name": "{NAME}", "arguments": ',
    end="}",
    between=", ",
    closing="]",
)
_COMPACT = CallForm(trigger=BEGIN, begin=f"{BEGIN}{NAME}{ARGS}", end="")


def _form(added_tokens: Container[str]) -> CallForm:
    return _COMPACT if ARGS in added_tokens else _LIST


FORMAT = ToolFormat(read=read, form=_form, markers=(BEGIN, ID, ARGS), new_id=new_id)

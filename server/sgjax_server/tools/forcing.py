"""The grammar of calls that must be, or must be such as their schemas say."""

import dataclasses
import re

from sgjax.constrained import grammar_of
from sgjax.constraint_fields import json_text
from sgjax.errors import InvalidRequest
from sgjax.sampling_params import SamplingParams
from sgjax_server.tools.format import NAME, NUMBER, CallForm, closed
from sgjax_server.tools.lark import TEXT, Lark, any_of
from sgjax_server.tools.tool import Tool, ToolChoice

THINKING = ("<think>", "</think>")
"""Special tokens that may stand in text that is no call."""
_ANY_ARGUMENTS = {"type": "object"}


def grammar_of_calls(
    choice: ToolChoice, form: CallForm, lark: Lark, answer: str | None = None
) -> str:
    """Lark for an output: calls alone where one must be, else text with calls in it, or else
    either calls or an `answer`, which is Lark.

    Raises:
        InvalidRequest: a tool's schema cannot be brought into a grammar, or calls could not be
            told from the answer.
    """
    check_schemas(choice)
    if answer is not None and form.tag:
        form = _tagged(form, lark)
    begin = form.opening + form.begin
    is_many = choice.is_parallel and not form.is_single
    calls = _Calls(choice, form, lark, is_many)
    before = form.before(lark) if form.before else ""
    if choice.is_forced:
        return lark.grammar(f"{before} {calls.from_(begin)}")
    if answer is None and not form.trigger:
        answer = rf"(/[^\s{re.escape(begin[0])}](.|\n)*/)?"
    if answer is None and form.answer_begin:
        answer = f"({TEXT})?"
    if answer is not None:
        answer = f"{lark.text(form.answer_begin)} {answer}"
        return lark.grammar(f"{before} ({calls.from_(begin)} | {answer})")
    assert begin.startswith(form.trigger)
    block = lark.rule(calls.from_(begin[len(form.trigger) :]))
    return lark.grammar(_text_with(block, form.trigger, lark, is_many))


def _tagged(form: CallForm, lark: Lark) -> CallForm:
    """The form with its tag: a grammar reads words greedily, and takes what begins as a call does
    for one."""
    if not lark.is_token(form.tag):
        raise InvalidRequest(
            f"This model's calls cannot be told from a bound answer, since it has no {form.tag}. "
            "Set tool_choice to 'none' or 'required', or leave out what binds the answer.",
            param="tools",
        )
    opening, closing = form.tag + form.opening, form.closing + form.tag_end
    return dataclasses.replace(form, opening=opening, closing=closing)


def _text_with(block: str, trigger: str, lark: Lark, is_many: bool) -> str:
    """Text in which blocks stand, each behind its trigger."""
    if lark.is_token(trigger):
        text, begin = lark.free_text(*THINKING), lark.text(trigger)
        return f"{text} " + (f"({begin} {block} {text})*" if is_many else f"({begin} {block})?")
    head = lark.text_before(trigger)
    return f"({head} {block})* ({TEXT})?" if is_many else f"{head} {block} | ({TEXT})?"


class _Calls:
    """One call or several, of any of the tools."""

    def __init__(self, choice: ToolChoice, form: CallForm, lark: Lark, is_many: bool):
        self._choice = choice
        self._form = form
        self._lark = lark
        self._is_many = is_many

    def from_(self, begin: str) -> str:
        """All from the first call's beginning to what closes the last."""
        first, more = self._any(begin), ""
        if self._is_many:
            more = f"({self._any(self._form.between + self._form.begin)})*"
        return f"{first} {more} {self._lark.text(self._form.closing)}"

    def _any(self, begin: str) -> str:
        tools = self._choice.tools.values()
        return self._lark.rule(any_of([self._call(tool, begin) for tool in tools]))

    def _call(self, tool: Tool, begin: str) -> str:
        lark, form = self._lark, self._form
        before, _, after = begin.replace(NAME, tool.name).partition(NUMBER)
        number = ["/[0-9]/", lark.text(after)] if NUMBER in begin else []
        free = Tool(tool.name, _ANY_ARGUMENTS)
        bound = tool if self._choice.is_forced or tool.is_strict else free
        arguments = form.arguments(bound, lark)
        return " ".join([lark.text(before), *number, arguments, lark.text(form.end)])


def check_schemas(choice: ToolChoice) -> None:
    """Raises InvalidRequest, with its place, for a schema that no grammar can be made of."""
    for tool in choice.tools.values():
        if not (choice.is_forced or tool.is_strict):
            continue
        try:
            schema = json_text("parameters", closed(tool.parameters))
            grammar_of(SamplingParams(json_schema=schema))
        except InvalidRequest as error:
            raise InvalidRequest(
                f"The parameters of tool {tool.name!r} cannot bind its calls: {error}",
                param="tools",
            ) from None

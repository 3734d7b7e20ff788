"""Regexes and choices: what an output of text alone must be."""

import re

from sgjax.constrained.lark import delimited, quoted
from sgjax.constrained.part import Part

REGEX = Part("regex")
_PYTHON_ONLY = {
    r"\(\?<?[=!]": "lookahead and lookbehind are not supported",
    r"\(\?P=": "backreferences are not supported",
    r"\(\?>": "atomic groups are not supported",
    r"\(\?\(": "conditions on groups are not supported",
    r"\(\?#": "comments are not supported: leave it out",
    r"\{,\d": "a repetition needs its lower bound: write {0,3} for {,3}",
    r"\\Z": "the whole output must match anyway: leave \\Z out",
}
"""What Python's re knows and Rust's regex does not, where the latter's message says less."""


def regex_grammar(pattern: str, part: Part = REGEX) -> str:
    r"""The grammar of outputs that match as a whole. Rust's dialect, but that `\d` is 0 to 9.

    Raises:
        InvalidRequest: it is no regex, or needs to look around or back.
    """
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_lark(f"start: {delimited(pattern)}\n")
    if fault := LLMatcher.validate_grammar(grammar):
        raise part.refuse(f"{_words(pattern, fault)}.")
    return grammar


def choice_grammar(choices: tuple[str, ...]) -> str:
    """The grammar of outputs that are one of some texts."""
    from llguidance import LLMatcher

    texts = " | ".join(map(quoted, dict.fromkeys(choices)))
    grammar = LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {texts}\n")
    if fault := LLMatcher.validate_grammar(grammar):
        raise Part("choice").refuse(f"these cannot be told apart: {fault.splitlines()[0]}.")
    return grammar


def _words(pattern: str, fault: str) -> str:
    for known, words in _PYTHON_ONLY.items():
        if re.search(rf"(?<!\\)(?:\\\\)*{known}", pattern):
            return words
    error = re.search(r"\nerror: ([^\n]*)", fault) or re.search(r"\(in regex\): ([^\n;]*)", fault)
    return error[1].rstrip(".") if error else fault.strip().splitlines()[0].rstrip(".")

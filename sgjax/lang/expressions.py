"""What a program appends to its state: text, calls of the model, roles, images.

s += user("Name a fruit: ") + assistant(gen("fruit", max_tokens=4))
"""

import dataclasses
import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.choices import ChoicesMethod, token_length_normalized

REGEX_INT = r"[-+]?[0-9]+[ \n]*"
REGEX_FLOAT = r"[-+]?[0-9]*\.?[0-9]+[ \n]*"
REGEX_BOOL = r"(True|False)"
REGEX_STR = r"\"[\w\d\s]*\""
_DTYPES: dict[Any, tuple[str, tuple[str, ...]]] = {
    # The regex, and where the value ends.
    int: (REGEX_INT, (" ", "\n")),
    float: (REGEX_FLOAT, (" ", "\n")),
    bool: (REGEX_BOOL, ()),
    str: (REGEX_STR, ()),
}
_BY_NAME = {kind.__name__: kind for kind in _DTYPES}


class Expression:
    """Something that can be appended; `+` puts expressions and texts behind one another."""

    def __add__(self, other: Any) -> "Group":
        return Group((*_flat(self), *_flat(as_expression(other))))

    def __radd__(self, other: Any) -> "Group":
        return Group((*_flat(as_expression(other)), *_flat(self)))


Appendable = Expression | str | Sequence[Any]
"""A sequence is of these, in turn."""


@dataclasses.dataclass(frozen=True)
class Text(Expression):
    """Text of the program's own."""

    text: str


@dataclasses.dataclass(frozen=True)
class Group(Expression):
    """Expressions, one after the other."""

    parts: tuple[Expression, ...]


@dataclasses.dataclass(frozen=True)
class Gen(Expression):
    """The model goes on from all there is so far.

    `params` are the sampling parameters that were given, by SGLang's names; all others are those of
    the program's run.
    """

    name: str | None = None
    params: dict[str, Any] = dataclasses.field(default_factory=dict)
    dtype: type | None = None
    logprobs: dict[str, Any] = dataclasses.field(default_factory=dict)
    """return_logprob, logprob_start_len, top_logprobs_num, return_text_in_logprobs."""

    def constrained(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """`params` with the regex of its dtype, and the stops that this brings."""
        if self.dtype is None:
            return self.params, ()
        regex, stops = _DTYPES[self.dtype]
        return {**self.params, "regex": regex}, stops


@dataclasses.dataclass(frozen=True)
class Select(Expression):
    """The likeliest of some texts."""

    name: str | None
    choices: tuple[str, ...]
    method: ChoicesMethod = token_length_normalized
    temperature: float = 0.0


@dataclasses.dataclass(frozen=True)
class RoleBegin(Expression):
    role: str


@dataclasses.dataclass(frozen=True)
class RoleEnd(Expression):
    role: str


@dataclasses.dataclass(frozen=True)
class Media(Expression):
    """An image or a video: a path, bytes, or a PIL image."""

    kind: str
    source: Any
    num_frames: int | None = None


@dataclasses.dataclass(frozen=True)
class ScopeBegin(Expression):
    """All text up to the scope's end is the value of a variable."""

    name: str


@dataclasses.dataclass(frozen=True)
class ScopeEnd(Expression):
    name: str


def as_expression(value: Any) -> Expression:
    """Text, a list, or an expression itself.

    Raises:
        InvalidProgram: it is none of them.
    """
    if isinstance(value, Expression):
        return value
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return Group(tuple(as_expression(each) for each in value))
    if value is None:
        raise InvalidProgram("None cannot be appended to a program. Is a return missing?")
    raise InvalidProgram(
        f"{type(value).__name__} cannot be appended to a program. Append text, gen(...), "
        "select(...), a role, an image, or a list of these; make text of a value with str()."
    )


def leaves(expression: Expression) -> list[Expression]:
    """All parts that are no group, in order."""
    if not isinstance(expression, Group):
        return [expression]
    return [leaf for part in expression.parts for leaf in leaves(part)]


def said(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that are not None: all others are as the program's run says."""
    return {name: value for name, value in given.items() if value is not None}


def read_dtype(dtype: Any) -> type | None:
    """int, float, str or bool, or one of their names.

    Raises:
        InvalidProgram: it is another.
    """
    if dtype is None:
        return None
    found = _BY_NAME.get(dtype) if isinstance(dtype, str) else dtype
    if not isinstance(found, type) or found not in _DTYPES:
        raise InvalidProgram(f"dtype must be one of {', '.join(_BY_NAME)}, not {dtype!r}.")
    return found


def check_name(name: Any, *, is_needed: bool = False) -> None:
    """Raises InvalidProgram for what cannot be a variable's name."""
    if not isinstance(name, str) and (name is not None or is_needed):
        raise InvalidProgram(
            f"A variable's name must be a string, not {type(name).__name__}: {name!r:.80}."
        )


def check_count(name: str, value: Any) -> None:
    """Raises InvalidProgram for what is no number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidProgram(f"{name} must be a number from 1 on, not {value!r:.80}.")


def check_choices(choices: Any) -> tuple[str, ...]:
    """Raises InvalidProgram unless these are different texts, at least one."""
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise InvalidProgram(f"choices must be a list with at least one text, not {choices!r:.80}.")
    for choice in choices:
        if not isinstance(choice, str) or not choice:
            raise InvalidProgram(f"choices must be texts that are not empty, not {choice!r:.80}.")
        if choices.count(choice) > 1:
            raise InvalidProgram(f"choices must differ, but {choice!r:.80} is there twice.")
    return tuple(choices)


def check_regex(regex: Any) -> None:
    """Raises InvalidProgram for what is no regex."""
    if regex is None:
        return
    try:
        re.compile(regex)
    except (re.error, TypeError, RecursionError) as error:
        raise InvalidProgram(f"regex {regex!r:.80} cannot be read: {error}.") from None


def check_stop(stop: Any) -> None:
    """Raises InvalidProgram for what is neither a text nor a list of texts."""
    texts = () if stop is None else (stop,) if isinstance(stop, str) else stop
    if not isinstance(texts, Collection) or not all(isinstance(each, str) for each in texts):
        raise InvalidProgram(f"stop must be a text or a list of texts, not {stop!r:.80}.")


def check_source(kind: str, source: Any) -> None:
    """Raises InvalidProgram for what cannot be an image or a video."""
    if isinstance(source, str | bytes | os.PathLike) or hasattr(source, "save"):
        return
    raise InvalidProgram(f"{kind} takes a path, bytes or a PIL image, not {type(source).__name__}.")


def _flat(expression: Expression) -> tuple[Expression, ...]:
    return expression.parts if isinstance(expression, Group) else (expression,)

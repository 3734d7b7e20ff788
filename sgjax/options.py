"""One option: a dataclass field, and how its values are checked, read from text, and named."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from sgjax.errors import ConfigError

_KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TRUTH = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A limit on values: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


def at_least(low: int) -> Rule:
    return Rule(words=f"of at least {low}", holds=lambda value: value >= low)


def option(
    default: Any,
    group: str,
    help: str,
    *,
    rule: Rule | None = None,
    aliases: Sequence[str] = (),
    flag: str | None = None,
    secret: bool = False,
) -> Any:
    """A dataclass field that is an option. `aliases`: other names; `flag`: if not the name's."""
    said = {"group": group, "help": help, "rule": rule, "aliases": tuple(aliases), "flag": flag}
    return dataclasses.field(default=default, repr=not secret, metadata=said)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """What a field says of itself."""

    name: str
    kind: type
    """bool, int, float or str."""
    optional: bool
    """Whether None is a value."""
    choices: tuple[str, ...]
    default: Any
    group: str
    help: str
    rule: Rule | None
    aliases: tuple[str, ...]
    flag: str

    @property
    def names(self) -> list[str]:
        """Every name it goes by in Python and in a file, its own first."""
        names = [self.name, *self.aliases, self.flag.removeprefix("--").replace("-", "_")]
        return list(dict.fromkeys(names))

    @property
    def flags(self) -> list[str]:
        """Every flag it goes by, the one to show first."""
        others = (f"--{alias.replace('_', '-')}" for alias in self.aliases)
        return [self.flag, *others]

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        return f"{_KINDS[self.kind]} {self.rule.words}" if self.rule else _KINDS[self.kind]

    def check(self, value: Any, where: str | None = None) -> None:
        """Raises ConfigError unless `value` is allowed. `where`: how the user named the option."""
        if value is None and self.optional:
            return
        is_kind = _is_kind(self.kind, value) and (not self.choices or value in self.choices)
        if not is_kind or (self.rule and not self.rule.holds(value)):
            raise ConfigError(f"{where or self.name} must be {self.allowed}, not {value!r}.")

    def parse(self, text: str, where: str | None = None) -> Any:
        """Reads a value as a command line or the environment writes it.

        "none" is None where that is allowed, but in a free text it is a word.
        """
        is_free_text = self.kind is str and not self.choices
        if self.optional and not is_free_text and text.lower() == "none":
            return None
        try:
            value = _READERS[self.kind](text)
        except (ValueError, KeyError):
            raise ConfigError(
                f"{where or self.name} must be {self.allowed}, not {text!r}."
            ) from None
        self.check(value, where)
        return value


def _is_kind(kind: type, value: Any) -> bool:
    if kind is float:
        return _is_kind(int, value) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def read_integer(text: str) -> int:
    """An integer, perhaps with a unit: 32K is 32768, 1M is 1048576.

    Raises:
        ValueError: if it is none.
    """
    unit = _UNITS.get(text[-1:].upper(), 1)
    return int(text[:-1] if unit > 1 else text) * unit


_READERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: _TRUTH[text.lower()],
    int: read_integer,
    float: float,
    str: str,
}


def options_of(config: type) -> dict[str, Option]:
    """The options of a dataclass whose fields were made with `option`, by name, in order."""
    hints = typing.get_type_hints(config)
    return {field.name: _read(field, hints[field.name]) for field in dataclasses.fields(config)}


def _read(field: dataclasses.Field[Any], hint: Any) -> Option:
    optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
    if optional:
        hint = next(arg for arg in typing.get_args(hint) if arg is not types.NoneType)
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    said = dict(field.metadata)
    said["flag"] = said["flag"] or f"--{field.name.replace('_', '-')}"
    kind = str if choices else hint
    return Option(
        name=field.name,
        kind=kind,
        optional=optional,
        choices=choices,
        default=field.default,
        **said,
    )

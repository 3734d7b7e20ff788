"""Command line flags, made from the options."""

import argparse
import os
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from rich_argparse import RichHelpFormatter

from sgjax.config import GROUPS, ServeConfig, did_you_mean, serve_options
from sgjax.config_sources import Found, from_environment, from_file, merge
from sgjax.errors import ConfigError
from sgjax.options import Option
from sgjax.sglang_flags import IGNORED, LATER

ENGINE_GROUPS = ("model", "memory", "scheduling", "devices")
"""The groups of options that mean something without a server."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises ConfigError, and never guesses from half a flag."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, formatter_class=RichHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message[:1].upper()}{message[1:]}. Try {self.prog} --help.")

    def parse_all(self, args: Sequence[str]) -> argparse.Namespace:
        """Parses `args`; an unknown flag is an error that names the nearest known one."""
        parsed, unknown = self.parse_known_args(args)
        command: Parser = getattr(parsed, "command", self)
        for arg in unknown:
            if arg.startswith("-"):
                flag = arg.split("=")[0]
                near = did_you_mean(flag, list(command._option_string_actions))
                raise ConfigError(f"There is no flag {flag}.{near} Try {command.prog} --help.")
        if unknown:
            raise ConfigError(f"{unknown[0]!r} is one too many. Try {command.prog} --help.")
        return parsed


class _Collect(argparse.Action):
    """Adds what was said to `namespace.found`, with the flag it was said by."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        value = self.const if self.nargs == 0 else values
        found = Found(self.dest, value, option_string or self.dest)
        namespace.found = [*namespace.found, found]


def add_options(parser: argparse.ArgumentParser, groups: Iterable[str] = GROUPS) -> None:
    """Adds --config, the flags of these groups of options, and SGLang's that are not ours."""
    parser.set_defaults(found=[], command=parser)
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file of options, or the name of one that comes along"
    )
    for group in groups:
        section = parser.add_argument_group(GROUPS[group])
        for option in serve_options().values():
            if option.group == group:
                _add(section, option)
    _add_sglang(parser)


def _add(section: argparse._ArgumentGroup, option: Option) -> None:
    if option.kind is bool:
        section.add_argument(
            *option.flags, action=_Collect, dest=option.name, nargs=0, const=True, help=option.help
        )
        section.add_argument(
            f"--no-{option.flag.removeprefix('--')}",
            action=_Collect, dest=option.name, nargs=0, const=False, help=argparse.SUPPRESS,
        )  # fmt: skip
        return
    section.add_argument(
        *option.flags, action=_Collect, dest=option.name, metavar=metavar(option),
        help=describe(option),
    )  # fmt: skip


def metavar(option: Option) -> str:
    if option.choices:
        return "{" + ",".join(option.choices) + "}"
    return {int: "N", float: "X", str: "TEXT"}[option.kind]


def describe(option: Option) -> str:
    """The option's help, for argparse: with its default, and percent signs doubled."""
    shown = "" if option.default in (None, False) else f" (default: {option.default})"
    return (option.help + shown).replace("%", "%%")


def _add_sglang(parser: argparse.ArgumentParser) -> None:
    for name, ignored in IGNORED.items():
        _add_hidden(parser, name, nargs=0 if ignored.is_flag else "*")
    for name, later in LATER.items():
        for alias in (name, *later.aliases):
            _add_hidden(parser, alias, nargs=0 if later.is_flag else None)


def _add_hidden(parser: argparse.ArgumentParser, name: str, *, nargs: int | str | None) -> None:
    parser.add_argument(
        f"--{name.replace('_', '-')}",
        action=_Collect,
        dest=name,
        nargs=nargs,
        const=True if nargs == 0 else None,
        help=argparse.SUPPRESS,
    )


def add_model(parser: Parser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="the same as --model-path (default: demo)"
    )


def config_from(parsed: argparse.Namespace) -> ServeConfig:
    """The options of a command: flags over SGJAX_ variables over the --config file."""
    said: list[Found] = parsed.found
    if parsed.model is not None:
        paths = {found.value for found in said if found.name == "model_path"}
        if paths - {parsed.model}:
            raise ConfigError(
                f"Two models are named, {parsed.model} and {paths.pop()}. Give MODEL or "
                "--model-path, not both."
            )
        said = [*said, Found("model_path", parsed.model, "MODEL")]
    file = from_file(parsed.config) if parsed.config else []
    return merge(said, from_environment(os.environ), file)

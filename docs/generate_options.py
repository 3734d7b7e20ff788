"""Writes docs/options.md from the options themselves: `make docs`."""

import sys
from collections.abc import Iterable

from sgjax.config import GROUPS, serve_options
from sgjax.options import Option
from sgjax.sglang_flags import IGNORED, LATER, UNREAD_FORMATS

_HEAD = """\
# Options

<!-- Made by `make docs` from sgjax/config.py; a test checks that it is current. -->

Every option is a flag of `sgjax serve` (those up to *Devices* also of `sgjax generate` and
`sgjax chat`), a keyword of `sgjax.Engine`, a line of a YAML file given with `--config`, and a
variable: `--page-size 64`, `Engine(page_size=64)`, `page_size: 64`, `SGJAX_PAGE_SIZE=64`. A flag
wins over a variable, a variable over the file, the file over the default. Numbers may be
written `32K` (32768) or `1M` on a command line, in a variable and in a file. A flag that switches
something on is switched off again by `--no-…`: `--no-log-requests`.

`--config` takes a path, or the name of a file that comes with sgjax (`configs/serve`): `demo`,
`h200-8b` and others.
"""


def page() -> str:
    """The whole of docs/options.md."""
    parts = [_HEAD]
    for group, title in GROUPS.items():
        rows = [_row(option) for option in serve_options().values() if option.group == group]
        parts.append(f"## {title}\n\n" + _table(["flag", "default", "meaning", "allowed"], rows))
    ignored = [(_flag(name), ignored.why) for name, ignored in IGNORED.items()]
    parts.append(
        "## SGLang's flags without an effect\n\nAccepted with a warning.\n\n"
        + _table(["flag", "why"], ignored)
    )
    later = [(_flags((name, *later.aliases)), later.what) for name, later in LATER.items()]
    formats = " and ".join(f"`{name}` ({why})" for name, why in UNREAD_FORMATS.items())
    parts.append(
        "## SGLang's flags that are not supported yet\n\nRefused with an error, unless their value "
        "asks for what happens anyway (`--dp-size 1`).\n\n"
        + _table(["flag", "what it needs"], later)
        + f"\nOf `--load-format`, {formats} stay out: convert such a checkpoint to safetensors.\n"
    )
    return "\n".join(parts)


def _row(option: Option) -> tuple[str, ...]:
    default = "" if option.default in (None, False) else f"`{option.default}`"
    return _flags(option.names), default, option.help, option.allowed


def _flags(names: Iterable[str]) -> str:
    return "<br>".join(dict.fromkeys(_flag(name) for name in names if not name.endswith("_s")))


def _flag(name: str) -> str:
    return f"`--{name.replace('_', '-')}`"


def _table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())

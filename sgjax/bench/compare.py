"""`sgjax bench compare`: two reports side by side."""

import dataclasses
from typing import Any

from rich.markup import escape
from rich.table import Table

from sgjax.bench.display import format_value, output_console, words
from sgjax.bench.report import Figure, Report
from sgjax.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A figure of both reports."""

    first: Figure
    second: Figure

    @property
    def ratio(self) -> float | None:
        """How many times better the second is; None where one of them is nothing."""
        a, b = self.first.value, self.second.value
        if not a or not b:
            return None
        return b / a if self.first.is_more_better else a / b


def compare(first: Report, second: Report) -> list[Row]:
    """The figures that both have, in the order of the first.

    Raises:
        ConfigError: they have none in common.
    """
    known = {(figure.name, figure.unit): figure for figure in second.figures}
    rows = [
        Row(figure, known[figure.name, figure.unit])
        for figure in first.figures
        if (figure.name, figure.unit) in known
    ]
    if not rows:
        raise ConfigError(
            f"The reports have no figure in common: {first.label} is of {first.benchmark}, "
            f"{second.label} of {second.benchmark}."
        )
    return rows


def differences(first: Report, second: Report) -> dict[str, tuple[Any, Any]]:
    """The settings that the two were not measured alike in."""
    names = [*first.settings, *(name for name in second.settings if name not in first.settings)]
    pairs = {name: (first.settings.get(name), second.settings.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def show_comparison(first: Report, second: Report) -> None:
    """Prints what is different, and a table of what both have."""
    rows = compare(first, second)
    console = output_console()
    for name, (a, b) in differences(first, second).items():
        console.print(f"{name}: {words(a)} -> {words(b)}", soft_wrap=True, markup=False)
    table = Table()
    for name in ("figure", "unit", escape(first.label), escape(second.label), "better"):
        table.add_column(name, justify="left" if name in ("figure", "unit") else "right")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}x"
        values = [format_value(figure.value) for figure in (row.first, row.second)]
        table.add_row(row.first.name, row.first.unit, *values, ratio)
    console.print(table)

"""What a person sees of a benchmark: a bar while it runs, a line when it is done, then a table."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sgjax.bench.report import Figure, Report
from sgjax.errors import SgjaxError
from sgjax.progress import make_bars

_LOOK_EVERY_S = 1.0
"""Rarely: every look is taken from what is being measured."""
_WIDTH = 120
"""Of tables, elsewhere than in a terminal."""


def output_console() -> Console:
    """Where results go: standard output."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


@contextmanager
def progress_bar(
    words: str,
    total: int | None = None,
    look: Callable[[], int] | None = None,
    console: Console | None = None,
) -> Iterator[None]:
    """A bar on standard error, if that is a terminal. `look` says how much of `total` is done; it
    is asked from another thread, once a second."""
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        yield
        return
    bars = make_bars(console, auto_refresh=False)
    task = bars.add_task(words, total=total, detail="")
    over = threading.Event()

    def work() -> None:
        while not over.wait(_LOOK_EVERY_S):
            if look is not None:
                try:
                    bars.update(task, completed=look())
                except SgjaxError:  # whoever is measured has ended: the measurement will say it
                    return
            bars.refresh()

    thread = threading.Thread(target=work, name="sgjax-bench-bar", daemon=True)
    with bars:
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def format_value(value: float) -> str:
    """Three or four digits that count: 0.0123, 4.39, 45,500."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def figure_line(figure: Figure) -> str:
    """One figure when it is done, with what it is held against."""
    against = [f"goal {format_value(figure.goal)}"] if figure.goal is not None else []
    against += [f"{name} {format_value(value)}" for name, value in figure.peers.items()]
    held = f"  ({', '.join(against)})" if against else ""
    return f"{figure.name:<28} {format_value(figure.value):>10} {figure.unit}{held}"


def figures_table(figures: Sequence[Figure]) -> Table:
    """The headlines: ours, and where there are any the goal, the peers, and how far ahead we are of
    the best of them (above 1 is ahead)."""
    peers = list(dict.fromkeys(name for figure in figures for name in figure.peers))
    has_goals = any(figure.goal is not None for figure in figures)
    table = Table()
    table.add_column("figure")
    for name in ["value", "unit", *(["goal", "reached"] if has_goals else []), *peers]:
        table.add_column(name, justify="left" if name == "unit" else "right")
    if peers:
        table.add_column("ahead", justify="right")
    for figure in figures:
        if figure.is_headline:
            table.add_row(*_cells(figure, peers, has_goals))
    return table


def _cells(figure: Figure, peers: Sequence[str], has_goals: bool) -> list[str]:
    cells = [figure.name, format_value(figure.value), figure.unit]
    if has_goals and figure.goal is None:
        cells += ["", ""]
    elif has_goals:
        assert figure.goal is not None
        cells += [format_value(figure.goal), "yes" if _is_reached(figure, figure.goal) else "no"]
    cells += [format_value(figure.peers[name]) if name in figure.peers else "" for name in peers]
    if peers:
        ahead = min((_ahead(figure, value) for value in figure.peers.values()), default=None)
        cells.append("" if ahead is None else f"{ahead:.2f}x")
    return cells


def _ahead(figure: Figure, other: float) -> float:
    """How many times better than `other`."""
    return figure.value / other if figure.is_more_better else other / figure.value


def _is_reached(figure: Figure, goal: float) -> bool:
    return figure.value >= goal if figure.is_more_better else figure.value <= goal


def show_report(report: Report) -> None:
    """Prints what was measured on, and the table."""
    console = output_console()
    console.print(f"\n[bold]sgjax bench {report.benchmark}[/]: {escape(report.label)}")
    for name, value in (report.settings | report.observed).items():
        if value is not None and value != {}:
            console.print(f"{name}: {words(value)}", soft_wrap=True, markup=False)
    plain = [figure for figure in report.figures if not figure.part]
    if any(figure.is_headline for figure in plain):
        console.print(figures_table(plain))
    if len(plain) < len(report.figures):
        console.print(parts_table([figure for figure in report.figures if figure.part]))


def parts_table(figures: Sequence[Figure]) -> Table:
    """A row for each thing that several figures are of, and a column for each of them."""
    columns = list(dict.fromkeys((figure.part, figure.unit) for figure in figures))
    rows: dict[str, dict[tuple[str, str], Figure]] = {}
    for figure in figures:
        rows.setdefault(figure.of, {})[figure.part, figure.unit] = figure
    table = Table()
    table.add_column("figure")
    for part, unit in columns:
        table.add_column(part if part == unit else f"{part} {unit}", justify="right")
    for name, found in rows.items():
        values = [format_value(found[key].value) if key in found else "" for key in columns]
        table.add_row(name, *values)
    return table


def words(value: object) -> str:
    """A value of a report's settings, for people."""
    if isinstance(value, dict):
        said = {name: each for name, each in value.items() if each is not None}
        return ", ".join(f"{name} {words(each)}" for name, each in said.items())
    return format_value(value) if isinstance(value, float) else str(value)

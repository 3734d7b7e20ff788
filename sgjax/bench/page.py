"""Reports as one HTML page that needs nothing else."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from sgjax.bench.compare import compare
from sgjax.bench.display import format_value, words
from sgjax.bench.plots import plots
from sgjax.bench.report import Figure, Report
from sgjax.errors import ConfigError

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1f2328; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #d1d9e0; text-align: left }
td.number, th.number { text-align: right }
tr.detail { color: #59636e }
code { font-size: .9em; overflow-wrap: anywhere }
svg { max-width: 100%; height: auto; display: block; margin: 1rem 0 }
"""


def write_page(reports: Sequence[Report], path: Path) -> None:
    """Raises ConfigError where the file cannot be written, or matplotlib is not installed."""
    text = page(reports)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"The page cannot be written to {path}: {error.strerror}.") from None


def page(reports: Sequence[Report]) -> str:
    """A page of one report, or of two side by side."""
    kinds = " and ".join(dict.fromkeys(report.benchmark for report in reports))
    labels = " against ".join(escape(report.label) for report in reports)
    parts = [
        f"<h1>sgjax bench {kinds}: {labels}</h1>",
        "<h2>Figures</h2>",
        _comparison(*reports) if len(reports) == 2 else _figures(reports[0].figures),
        "<h2>Plots</h2>",
        *plots(reports),
        "<h2>What was measured</h2>",
        _settings(reports),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    title = f"<title>sgjax bench {kinds}: {labels}</title>"
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}{title}<style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _figures(figures: Sequence[Figure]) -> str:
    """All figures; what is no headline is paler."""
    peers = list(dict.fromkeys(peer for figure in figures for peer in figure.peers))
    has_goals = any(figure.goal is not None for figure in figures)
    head = ["figure", "unit", "value", *(["goal"] if has_goals else []), *peers]
    rows = []
    for figure in figures:
        values = [figure.value, *([figure.goal] if has_goals else [])]
        values += [figure.peers.get(peer) for peer in peers]
        cells = [figure.name, figure.unit, *map(_value, values)]
        rows.append(_row(cells, is_detail=not figure.is_headline))
    return _table(head, rows, num_words=2)


def _comparison(first: Report, second: Report) -> str:
    head = ["figure", "unit", first.label, second.label, "better"]
    rows = []
    for row in compare(first, second):
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}x"
        values = [_value(figure.value) for figure in (row.first, row.second)]
        cells = [row.first.name, row.first.unit, *values, ratio]
        rows.append(_row(cells, is_detail=not row.first.is_headline))
    return _table(head, rows, num_words=2)


def _settings(reports: Sequence[Report]) -> str:
    """What was measured on and what was seen, a column a report."""
    said = [
        {"command": " ".join(report.command), "started": report.started}
        | report.settings
        | report.observed
        for report in reports
    ]
    names = dict.fromkeys(name for each in said for name in each)
    rows = [
        _row([name, *(words(each[name]) if each.get(name) is not None else "" for each in said)])
        for name in names
    ]
    return _table(["", *(report.label for report in reports)], rows, num_words=len(said) + 1)


def _value(value: float | None) -> str:
    return "" if value is None else format_value(value)


def _row(cells: Sequence[str], *, is_detail: bool = False) -> tuple[Sequence[str], bool]:
    return cells, is_detail


def _table(
    head: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]], *, num_words: int
) -> str:
    """`num_words`: so many columns are words, the others numbers."""

    def line(tag: str, cells: Sequence[str], is_detail: bool = False) -> str:
        marks = ["" if i < num_words else ' class="number"' for i in range(len(cells))]
        inner = "".join(
            f"<{tag}{mark}>{escape(cell)}</{tag}>" for mark, cell in zip(marks, cells, strict=True)
        )
        return f'<tr class="detail">{inner}</tr>' if is_detail else f"<tr>{inner}</tr>"

    body = "\n".join(line("td", cells, is_detail) for cells, is_detail in rows)
    return f"<table>\n{line('th', head)}\n{body}\n</table>"

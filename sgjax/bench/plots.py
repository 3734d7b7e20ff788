"""Plots of reports, as SVG that a page can hold."""

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sgjax.bench.display import format_value
from sgjax.bench.extras import import_extra
from sgjax.bench.report import Curve, Figure, Report

_COLOURS = ("#1f6feb", "#d1660f", "#8b949e", "#b4bac2", "#57606a", "#c9a227")
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sgjax",  # the same plot is the same bytes
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
_UNDER_LABELS = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
_INCH_A_BAR = 0.34


def plots(reports: Sequence[Report]) -> list[str]:
    """An SVG for each group of figures that belong together, and for each curve.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    matplotlib = import_extra("matplotlib")
    import_extra("matplotlib.figure")
    with matplotlib.rc_context(_STYLE):
        bars = [_bars(title, group, reports) for title, group in _groups(reports)]
        names = dict.fromkeys(curve.name for report in reports for curve in report.curves)
        return bars + [_curve(name, reports) for name in names]


def _groups(reports: Sequence[Report]) -> Iterable[tuple[str, list[Figure]]]:
    """Headlines that belong together: parts of the same kind, and names that begin alike; others by
    their unit. What there is a curve of is not shown twice."""
    curves = {curve.name for report in reports for curve in report.curves}
    figures = {
        (figure.name, figure.unit): figure
        for report in reports
        for figure in report.figures
        if figure.is_headline and figure.of not in curves
    }
    alike: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for figure in figures.values():
        alike[figure.part or figure.name.split("-")[0], figure.unit].append(figure)
    groups: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for (name, unit), found in alike.items():
        groups[name if len(found) > 1 and name != unit else "", unit] += found
    for (name, unit), found in groups.items():
        yield f"{name}, {unit}".removeprefix(", "), found


def _bars(title: str, figures: Sequence[Figure], reports: Sequence[Report]) -> str:
    """For each figure a bar of each report, then of each peer; the goal is a line across."""
    series = {report.label: _values(report.figures, figures) for report in reports}
    for peer in dict.fromkeys(peer for figure in figures for peer in figure.peers):
        series[peer] = [figure.peers.get(peer) for figure in figures]
    thick = 0.8 / len(series)
    plot, axes = _canvas(height=1.0 + _INCH_A_BAR * len(figures) * max(len(series), 2))
    for place, (label, values) in enumerate(series.items()):
        ys = [row + (place - (len(series) - 1) / 2) * thick for row in range(len(figures))]
        drawn = [(y, value) for y, value in zip(ys, values, strict=True) if value is not None]
        bars = axes.barh(
            [y for y, _ in drawn],
            [value for _, value in drawn],
            height=thick * 0.92,
            label=label,
            color=_COLOURS[place % len(_COLOURS)],
        )
        texts = [format_value(value) for _, value in drawn]
        axes.bar_label(bars, texts, padding=3, fontsize=8, bbox=_UNDER_LABELS, zorder=4)
    goals = [(row, figure.goal) for row, figure in enumerate(figures) if figure.goal is not None]
    if goals:
        rows, values = zip(*goals, strict=True)
        low, high = ([row + side * 0.45 for row in rows] for side in (-1, 1))
        axes.vlines(values, low, high, colors="black", linestyles="dashed", label="goal")
    axes.set_yticks(range(len(figures)), [figure.of or figure.name for figure in figures])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    return _finished(plot, axes, title, has_legend=len(series) > 1 or bool(goals))


def _values(found: Sequence[Figure], wanted: Sequence[Figure]) -> list[float | None]:
    known = {(figure.name, figure.unit): figure.value for figure in found}
    return [known.get((figure.name, figure.unit)) for figure in wanted]


def _curve(name: str, reports: Sequence[Report]) -> str:
    """One curve of every report that has it."""
    plot, axes = _canvas(height=2.8)
    found: list[tuple[str, Curve]] = [
        (report.label, curve) for report in reports for curve in report.curves if curve.name == name
    ]
    for place, (label, curve) in enumerate(found):
        axes.plot(curve.x, curve.y, label=label, color=_COLOURS[place % len(_COLOURS)])
    curve = found[0][1]
    axes.set_xlabel(curve.x_label)
    axes.set_ylabel(curve.y_label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    return _finished(plot, axes, name, has_legend=len(found) > 1)


def _canvas(*, height: float) -> tuple[Any, Any]:
    figure = import_extra("matplotlib.figure").Figure(figsize=(8.2, height), layout="constrained")
    return figure, figure.subplots()


def _finished(plot: Any, axes: Any, title: str, *, has_legend: bool) -> str:
    axes.set_title(title, loc="left", fontweight="bold")
    if has_legend:
        plot.legend(loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    text = io.StringIO()
    plot.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    return svg[svg.index("<svg") :]

"""What becomes of findings: a table, a file, a page, a comparison."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgjax.bench.compare import compare, show_comparison
from sgjax.bench.display import show_report
from sgjax.bench.environment import describe_machine
from sgjax.bench.extras import import_extra
from sgjax.bench.report import Findings, Report, read_json, write_json
from sgjax.errors import ConfigError


def check_outputs(parsed: argparse.Namespace) -> None:
    """Says what cannot be written, or compared with, before hours of measuring and not after."""
    for path in (parsed.json, parsed.html):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"There is no folder {path.absolute().parent} for {path.name}.")
    if parsed.html is not None:
        import_extra("matplotlib")
    if parsed.compare is not None:
        read_json(parsed.compare)


def publish(
    parsed: argparse.Namespace, benchmark: str, found: Findings, settings: Mapping[str, Any]
) -> None:
    """Shows the report, and writes what was asked for."""
    machine = describe_machine()
    report = Report(
        benchmark=benchmark,
        label=parsed.label or machine["commit"] or machine["versions"]["sgjax"],
        command=_without_secrets(parsed.argv),
        started=found.started,
        settings={**found.settings, **settings, **machine},
        observed=found.observed,
        figures=found.figures,
        curves=found.curves,
    )
    show_report(report)
    if parsed.json is not None:
        write_json(report, parsed.json)
    reports = [report]
    if parsed.compare is not None:
        reports.insert(0, read_json(parsed.compare))
        show_comparison(*reports)
    _write_page(reports, parsed.html)


def publish_comparison(first: Path, second: Path, html: Path | None) -> None:
    """Two reports from files, side by side."""
    reports = [read_json(first), read_json(second)]
    compare(*reports)
    show_comparison(*reports)
    _write_page(reports, html)


def _write_page(reports: Sequence[Report], path: Path | None) -> None:
    if path is not None:
        from sgjax.bench.page import write_page

        write_page(reports, path)


def _without_secrets(argv: Sequence[str]) -> list[str]:
    """The command line, with keys blotted out."""
    blotted = [arg.split("=")[0] + "=…" if arg.startswith("--api-key=") else arg for arg in argv]
    return ["…" if i and argv[i - 1] == "--api-key" else arg for i, arg in enumerate(blotted)]

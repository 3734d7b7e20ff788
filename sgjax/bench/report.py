"""What a benchmark found: figures, what they were measured on, and the file they are kept in."""

import datetime
from pathlib import Path
from typing import Any

import msgspec

from sgjax.errors import ConfigError

FORMAT = 1


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One number: its name is the same in every report that has it."""

    name: str
    value: float
    unit: str
    is_more_better: bool = False
    is_headline: bool = True
    """Whether it stands in the table; all stand in the file."""
    runs: list[float] = []
    """The single measurements that it was made of, in seconds."""
    of: str = ""
    part: str = ""
    """Where several numbers are of one thing, that thing, and which of its numbers this is."""
    goal: float | None = None
    peers: dict[str, float] = {}
    """What other engines reach on the same machine and work."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Points to plot; its name is the same in every report that has it."""

    name: str
    x_label: str
    y_label: str
    x: list[float]
    y: list[float]


class Findings(msgspec.Struct, frozen=True):
    """What a benchmark hands over to be reported."""

    started: str
    """ISO 8601, UTC."""
    settings: dict[str, Any]
    """What was measured, and on what: runs that differ here measured different things."""
    observed: dict[str, Any]
    """What else is worth knowing of the run."""
    figures: list[Figure]
    curves: list[Curve] = []


def now() -> str:
    """The time, for `started`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a benchmark."""

    benchmark: str
    """offline, latency, serving or kernels."""
    label: str
    """How tables and plots call this run."""
    command: list[str]
    started: str
    settings: dict[str, Any]
    observed: dict[str, Any]
    figures: list[Figure]
    curves: list[Curve] = []
    format: int = FORMAT


def write_json(report: Report, path: Path) -> None:
    """Raises ConfigError where the file cannot be written."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    except OSError as error:
        raise ConfigError(f"The report cannot be written to {path}: {error.strerror}.") from None


def read_json(path: Path) -> Report:
    """Raises ConfigError for a file that is not there, or is no report."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise ConfigError(f"The report {path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} is not a report of sgjax bench: {error}. Make one with --json."
        ) from None

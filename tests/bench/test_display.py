"""What a person sees while something is measured, and after it."""

import io
import threading

import pytest
from rich.console import Console

from sgjax.bench import display
from sgjax.bench.display import format_value, parts_table, progress_bar
from sgjax.bench.report import Figure
from sgjax.errors import EngineDead


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(display, "_LOOK_EVERY_S", 0.001)
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def test_a_bar_shows_how_much_is_done(terminal, no_leaks):
    looked = threading.Event()

    def look():
        looked.set()
        return 30

    with progress_bar("decode-64", 60, look, terminal):
        assert looked.wait(5)
        looked.clear()
        assert looked.wait(5)  # by now the first look is on the screen
    text = terminal.file.getvalue()
    assert "decode-64" in text and "30/60" in text


def test_a_bar_whose_engine_ends_leaves_the_error_to_whoever_measures(terminal, no_leaks):
    looked = threading.Event()

    def look():
        looked.set()
        raise EngineDead("It ended.")

    with progress_bar("decode-64", 60, look, terminal):
        assert looked.wait(5)


def test_elsewhere_than_in_a_terminal_nobody_looks(no_leaks):
    console = Console(file=io.StringIO())
    with progress_bar("decode-64", 60, lambda: pytest.fail("looked"), console):
        assert not any("bench" in thread.name for thread in threading.enumerate())
    assert console.file.getvalue() == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.012345, "0.01235"), (4.39, "4.39"), (999.96, "1000"), (45500.4, "45,500"), (0.0, "0")],
)
def test_values_have_the_digits_that_count(value, text):
    assert format_value(value) == text


def test_numbers_of_one_thing_share_a_row_also_where_some_are_missing():
    figures = [
        Figure(name="a: us", of="a", part="us", value=1.5, unit="us"),
        Figure(name="a: of copy", of="a", part="of copy", value=80.0, unit="%"),
        Figure(name="b: us", of="b", part="us", value=2.5, unit="us"),
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(parts_table(figures))
    rows = [line.split() for line in out.getvalue().replace("│", " ").splitlines()]
    assert ["a", "1.5", "80"] in rows
    assert ["b", "2.5"] in rows
    assert "of copy %" in out.getvalue()

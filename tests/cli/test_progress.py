import io
import logging

from rich.console import Console

from sgjax.engine.messages import Failed, Progress, Ready
from sgjax.progress import LogLines, start_progress


def test_log_has_the_first_and_the_last_of_a_phase_and_one_in_five_seconds(caplog):
    now = 0.0
    lines = LogLines(clock=lambda: now)
    with caplog.at_level(logging.INFO):
        for done in range(1, 13):
            lines(Progress("load", done, 12))
            now += 1.0
        lines(Progress("compile", 1, 3, "64 tokens"))
    assert caplog.messages == [
        "reading weights: 1 of 12",
        "reading weights: 6 of 12",
        "reading weights: 11 of 12",
        "reading weights: 12 of 12",
        "compiling programs: 1 of 3 (64 tokens)",
    ]


def test_elsewhere_than_in_a_terminal_there_are_no_bars(caplog):
    out = io.StringIO()
    with caplog.at_level(logging.INFO), start_progress(Console(file=out)) as on_event:
        on_event(Progress("load", 1, 1))
        on_event(Ready(2.5))
    assert out.getvalue() == ""
    assert caplog.messages == ["reading weights: 1 of 1", "every program is compiled (2.5 s)"]


def test_terminal_shows_a_bar_a_phase():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with start_progress(console) as on_event:
        on_event(Progress("load", 1, 2, "model.safetensors"))
        on_event(Progress("compile", 3, 3))
    text = out.getvalue()
    assert "reading weights" in text and "1/2" in text and "model.safetensors" in text
    assert "compiling programs" in text and "3/3" in text


def test_once_bars_are_closed_progress_goes_to_the_log(caplog):
    console = Console(file=io.StringIO(), force_terminal=True)
    with start_progress(console) as on_event:
        on_event(Failed("no memory"))
    with caplog.at_level(logging.INFO):
        on_event(Progress("background", 2, 2))
        on_event(Ready(1.0))
    assert caplog.messages == [
        "compiling the other programs: 2 of 2",
        "every program is compiled (1.0 s)",
    ]

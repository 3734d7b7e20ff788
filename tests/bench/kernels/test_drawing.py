"""`sgjax bench kernels --op draw_tokens` on the CPU."""

import dataclasses
import json

import pytest

from sgjax.bench.kernels import drawing, options
from sgjax.cli import main

TINY = tuple(drawing.Case(2, 300, **way) for way in drawing.WAYS)


@pytest.fixture
def bench(monkeypatch, capsys):
    monkeypatch.setattr(options, "OPS", (dataclasses.replace(drawing.OP, small=TINY),))

    def run(*args):
        return main(["bench", "kernels", "--op", "draw_tokens", *args]), *capsys.readouterr()

    return run


def test_bytes_are_those_of_logits_and_of_history_where_it_counts():
    sizes = {case.way: drawing.num_bytes(case) for case in TINY}
    assert sizes.pop("all") == 2 * 300 * (4 + 2)
    assert set(sizes.values()) == {2 * 300 * 4}


def test_real_cases_are_of_the_batches_that_are_served():
    assert {case.R for case in drawing.REAL} == {1, 64, 256, 512}


@pytest.mark.parametrize("how", [["--interpret"], []])
def test_every_way_draws_the_tokens_of_the_reference(how, bench, tmp_path):
    path = tmp_path / "report.json"
    status, _, err = bench(*how, "--json", str(path))
    assert (status, err) == (0, "")
    figures = json.loads(path.read_text())["figures"]
    assert {figure["of"] for figure in figures} == {case.name for case in TINY}
    assert all(figure["value"] == 0 for figure in figures if figure["part"] == "error")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--tune", "--write", "x"], "draw_tokens has no block sizes to tune"),
        (["--head-size", "64"], "--head-size is for operations on heads"),
    ],
)
def test_what_drawing_has_not_is_one_line_and_status_2(args, said, bench):
    status, out, err = bench(*args)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and said in err

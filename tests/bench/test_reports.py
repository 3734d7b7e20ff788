"""Reports: files, comparisons and pages."""

import xml.etree.ElementTree

import pytest

from sgjax.bench import extras
from sgjax.bench.compare import compare, differences
from sgjax.bench.page import page
from sgjax.bench.report import Curve, Figure, Report, read_json, write_json
from sgjax.cli import main
from sgjax.errors import ConfigError


def report(label="first", step=8.0, rate=100.0, benchmark="offline", **settings):
    figures = [
        Figure(name="decode-8", value=step, unit="ms", runs=[1.0], goal=7.0, peers={"Peer": 9.5}),
        Figure(name="decode-8-rate", value=rate, unit="tokens/s", is_more_better=True),
        Figure(name=f"only-{label}", value=1.0, unit="s"),
        Figure(name="ttft-p50", value=3.25, unit="ms"),
        Figure(name="quiet", value=77.125, unit="s", is_headline=False),
    ]
    curve = Curve(name="waits", x_label="ms", y_label="%", x=[0.0, 1.0], y=[0.0, 100.0])
    return Report(
        benchmark=benchmark,
        label=label,
        command=["sgjax", "bench"],
        started="2026-01-01T00:00:00+00:00",
        settings={"device": "cpu", "versions": {"jax": "1"}} | settings,
        observed={"seconds": 2.0},
        figures=figures,
        curves=[curve],
    )


@pytest.fixture
def files(tmp_path):
    """Two reports on the disk; the second is twice as fast."""
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    write_json(report(), paths[0])
    write_json(report("second", step=4.0, rate=200.0, device="tpu"), paths[1])
    return [str(path) for path in paths]


def test_what_was_written_is_read_again(tmp_path):
    write_json(report(), tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == report()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "is not a report of sgjax bench"),
        ('{"benchmark": "offline"}', "missing required field"),
        ("[]", "is not a report of sgjax bench"),
    ],
)
def test_what_is_no_report_is_said(text, said, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_json(path)
    with pytest.raises(ConfigError, match=r"none\.json cannot be read"):
        read_json(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_json(report(), tmp_path / "none" / "a.json")


def test_ratio_is_above_one_where_the_second_is_better_whatever_is_measured():
    rows = {
        row.first.name: row.ratio for row in compare(report(), report("b", step=4.0, rate=150.0))
    }
    assert rows == {"decode-8": 2.0, "decode-8-rate": 1.5, "ttft-p50": 1.0, "quiet": 1.0}
    assert compare(report(step=0.0), report())[0].ratio is None


def test_reports_of_different_things_are_not_compared():
    other = report(benchmark="serving")
    other = Report(
        **{name: getattr(other, name) for name in other.__struct_fields__} | {"figures": []}
    )
    with pytest.raises(ConfigError, match="first is of offline, first of serving"):
        compare(report(), other)


def test_settings_that_differ_are_told_and_others_are_not():
    found = differences(report(), report(device="tpu", scale=0.5))
    assert found == {"device": ("cpu", "tpu"), "scale": (None, 0.5)}


@pytest.mark.parametrize("words", [["compare"], ["--compare"]])
def test_comparison_is_printed_with_what_differs(words, files, capsys):
    assert main(["bench", *words, *files]) == 0
    out = capsys.readouterr().out
    assert "device: cpu -> tpu\n" in out
    lines = [line.split() for line in out.replace("│", " ").splitlines()]
    assert ["decode-8", "ms", "8", "4", "2.000x"] in lines
    assert ["decode-8-rate", "tokens/s", "100", "200", "2.000x"] in lines


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["compare", "/none/a.json", "/none/b.json"], "/none/a.json cannot be read"),
        (["compare", "/none/a.json"], "required: B.json"),
        ([], "Name a benchmark"),
        (["speed"], "invalid choice: 'speed'"),
    ],
)
def test_bad_comparison_is_one_line_and_status_2(args, said, capsys):
    assert main(["bench", *args]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_page_holds_every_figure_and_plot_and_needs_nothing_else():
    text = page([report()])
    assert all(word in text for word in ("decode-8", "9.5", "7", "77.12", "cpu", "2026-01-01"))
    assert text.count("<svg") == 4  # ms, tokens/s, s, and the curve
    drawings = text.split("<svg")[1:]
    for drawing in drawings:
        xml.etree.ElementTree.fromstring("<svg" + drawing[: drawing.index("</svg>")] + "</svg>")
    outside = text.replace("http://www.w3.org/", "").replace("url(#", "")
    assert not any(word in outside for word in ("http:", "https:", "src=", "url(", "<script"))


def test_page_of_two_reports_has_ratios_and_both_in_each_plot(files, tmp_path, capsys):
    path = tmp_path / "page.html"
    assert main(["bench", "compare", *files, "--html", str(path)]) == 0
    text = path.read_text()
    assert "2.000x" in text
    assert text.count(">second</text>") >= 3


def test_labels_are_text_and_no_markup():
    text = page([report("<b>&")])
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text


def test_the_same_report_is_the_same_page():
    assert page([report()]) == page([report()])


def test_missing_package_is_said_with_the_extra_that_brings_it(monkeypatch, files, capsys):
    monkeypatch.setitem(extras.importlib.sys.modules, "matplotlib", None)
    assert main(["bench", "compare", *files, "--html", "x.html"]) == 2
    err = capsys.readouterr().err
    assert "needs matplotlib" in err and "pip install 'sgjax[bench]'" in err
    assert main(["bench", "offline", "tree", "--html", "x.html"]) == 2

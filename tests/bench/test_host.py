"""The benchmarks of the host run, at sizes that say nothing about speed."""

import pytest

from sgjax.bench import host, prefixes, streams


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(prefixes, "TREE_TOKENS", 1 << 13)
    monkeypatch.setattr(prefixes, "SHARED", 256)


def test_decoding_is_measured_part_by_part():
    parts = host.measure(3, 20)
    assert list(parts) == list(host.PARTS)
    assert all(len(values) > 10 and min(values) > 0 for values in parts.values())


@pytest.mark.parametrize("case", ["hits", "burst", "evict", "queue"])
def test_what_prefixes_cost_is_shown(case, small, capsys):
    host.show_prefixes(case)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 4
    assert all(len(line.split()) >= 4 for line in lines)


def test_an_unknown_case_is_refused_with_those_there_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["host", "all"])
    with pytest.raises(SystemExit):
        host.main()
    assert "no case 'all'; there are decode, hits, burst, evict, queue" in capsys.readouterr().err


@pytest.mark.parametrize("form", list(streams.BODIES))
def test_streams_before_an_engine_that_recites_are_measured(form, monkeypatch):
    monkeypatch.setattr(streams, "WARM_UP", 4)
    cost, rate = streams.measure(form, num_streams=2, num_tokens=40, interval_ms=2.0)
    assert cost >= 0 and rate > 0

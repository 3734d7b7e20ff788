import re

import pytest

from sgjax.bench import absorbed


@pytest.fixture(autouse=True)
def few_runs(monkeypatch):
    monkeypatch.setattr(absorbed, "LAYERS", 2)


def test_three_forms_give_the_same(capsys, monkeypatch):
    words = ["absorbed", "--small", "--heads", "4", "--rows", "2", "--context", "32"]
    monkeypatch.setattr("sys.argv", words)
    absorbed.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(absorbed.FORMS)
    assert [line.split()[1] for line in lines] == ["40", "40", "160"]
    errors = [float(re.search(r"differs by ([\d.]+)", line)[1]) for line in lines]
    assert errors[0] == 0 and max(errors) < 0.03

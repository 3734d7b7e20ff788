import os
import re

import pytest

from sgjax.bench import power


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """One that says the same of every GPU, for ever, and once that a value is not known."""
    program = tmp_path / "nvidia-smi"
    loop = "while true; do echo '1500, 600.5'; sleep 0.005; done"
    program.write_text(f"#!/bin/sh\necho '1500, [N/A]'\n{loop}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def lines(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["power", "--small", "--seconds", "0.05"])
    power.main()
    return capsys.readouterr().out.splitlines()


def test_rates_come_with_clock_and_watts(nvidia_smi, capsys, monkeypatch):
    monkeypatch.setattr(power, "SETTLED_S", 0.0)
    found = lines(capsys, monkeypatch)
    assert [re.split(r"  +", line)[0] for line in found][1:] == ["copy", "products of 8"]
    assert len(found) == 3
    assert all(line.endswith("in all, 1500 MHz, 600 W") for line in found), found


def test_without_nvidia_smi_there_are_rates(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = lines(capsys, monkeypatch)
    assert all(
        re.search(r"[1-9].* T(B|FLOP)/s at first, .*[1-9].* in all$", line) for line in found
    )

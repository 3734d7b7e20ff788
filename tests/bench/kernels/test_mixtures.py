"""`sgjax bench kernels --op mixture_of_experts` on the CPU."""

import json

import pytest

from sgjax.bench.kernels import mixtures
from sgjax.bench.kernels.sizes_file import read_candidates
from sgjax.cli import main
from sgjax.kernels_pallas.mixture_of_experts import cases


@pytest.fixture
def bench(capsys):
    def run(*args):
        flags = ["--op", "mixture_of_experts", "--cases", "few tokens", *args]
        return main(["bench", "kernels", *flags]), *capsys.readouterr()

    return run


def test_bytes_are_those_of_experts_with_tokens_and_operations_those_of_choices():
    (one,) = [case for case in cases.REAL if case.name == "mixtral-8x7b 1"]
    expert = 3 * 4096 * 14336
    assert mixtures.num_bytes(one) == 2 * (2 * expert + 2 * 4096)
    assert mixtures.num_operations(one) == 2 * 2 * expert
    (many,) = [case for case in cases.REAL if case.name == "mixtral-8x7b 2048"]
    assert mixtures.num_bytes(many) == 2 * (8 * expert + 2 * 2048 * 4096)


@pytest.mark.parametrize("how", [["--interpret"], []])
def test_a_mixture_is_the_references(how, bench, tmp_path):
    path = tmp_path / "report.json"
    status, _, err = bench(*how, "--json", str(path))
    assert (status, err) == (0, "")
    figures = json.loads(path.read_text())["figures"]
    assert {figure["of"] for figure in figures} == {"few tokens"}


def test_tuning_writes_sizes_for_the_width_of_an_expert(bench, tmp_path, monkeypatch):
    values = {"columns": [16, 32], "depth": [128], "warps": [4], "stages": [3]}
    monkeypatch.setattr("sgjax.bench.kernels.tuning.read_candidates", lambda _: {"down 16": values})
    path = tmp_path / "sizes.json"
    status, _, err = bench("--interpret", "--tune", "--kernel", "down 16", "--write", str(path))
    assert (status, err) == (0, "")
    (entries,) = json.loads(path.read_text())["mixture_of_experts"].values()
    assert list(entries) == [str(24 * 2)]


def test_every_kernel_has_sizes_to_try():
    assert set(read_candidates("mixture_of_experts")) == {k.name for k in mixtures.OP.kernels}
    tried = {mixtures._block(case) for case in cases.REAL}
    assert tried == {1, 16, 32, 64, 128}

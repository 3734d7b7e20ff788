"""`sgjax bench kernels --op latent_attention`, on the CPU."""

import dataclasses
import json

import pytest

from sgjax.bench.kernels import latents, options
from sgjax.cli import main
from sgjax.kernels_pallas.latent_attention.cases import Case

TINY = (
    Case("decode tiny", (3, 9), heads=4, value_size=24, turned=8, C=1),
    Case("extend tiny", extend=((0, 5), (3, 4)), heads=4, value_size=24, turned=8),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(options, "OPS", (dataclasses.replace(latents.OP, small=TINY),))


def test_bytes_and_operations_are_as_reckoned_by_hand():
    decode, extend = TINY
    assert latents.num_bytes(decode) == 2 * ((3 + 9) * 32 + 2 * 4 * (32 + 24))
    assert latents.num_operations(decode) == 2 * (32 + 24) * 4 * (3 + 9)
    assert latents.num_operations(extend) == 2 * (32 + 24) * 4 * (15 + 22)


def test_every_case_is_checked_and_measured(tmp_path):
    path = tmp_path / "report.json"
    assert main(["bench", "kernels", "--op", "latent_attention", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())["figures"]
    assert {figure["of"] for figure in figures} == {case.name for case in TINY}


def test_the_sizes_of_both_kernels_can_be_tuned(tmp_path):
    path = tmp_path / "sizes.json"
    how = ["--tune", "--interpret", "--write", str(path), "--budget", "0.001"]
    assert main(["bench", "kernels", "--op", "latent_attention", *how]) == 0
    assert json.loads(path.read_text())["latent_attention"].keys() == {"decode", "extend"}

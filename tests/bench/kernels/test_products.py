"""`sgjax bench kernels --op product` on the CPU."""

import dataclasses
import json

import pytest

from sgjax.bench.kernels import products
from sgjax.bench.kernels.sizes_file import read_candidates
from sgjax.cli import main
from sgjax.kernels_pallas.product import cases


@pytest.fixture
def bench(capsys):
    def run(*args):
        return main(["bench", "kernels", "--op", "product", *args]), *capsys.readouterr()

    return run


def case_named(name):
    (found,) = [case for case in cases.REAL if case.name == name]
    return found


def test_bytes_and_operations_are_those_of_the_whole_product():
    case = case_named("8b gate_up 4 x 4096 x 14336")
    weight = 2 * 4096 * 14336
    assert products.num_bytes(case) == 2 * (weight + 4 * 4096 + 4 * 14336)
    assert products.num_operations(case) == 2 * 4 * weight


def test_real_cases_are_all_products_of_a_decode_step_and_gated_ones_of_prompts():
    assert {case.T for case in cases.REAL if case.form != "gated"} == {1, 4, 8}
    assert {case.T for case in cases.REAL if case.form == "gated"} == {1, 4, 8, 1024, 8192}
    layers = sum(
        products.weight_bytes(case_named(f"8b {name}"))
        for name in (
            "qkv 1 x 4096 x 6144",
            "out 1 x 4096 x 4096",
            "gate_up 1 x 4096 x 14336",
            "down 1 x 14336 x 4096",
        )
    )
    assert layers == 2 * 218_103_808, "a layer of Llama-3.1-8B"


@pytest.mark.parametrize("how", [["--interpret"], []])
def test_every_product_is_the_references(how, bench, tmp_path):
    path = tmp_path / "report.json"
    status, _, err = bench(*how, "--json", str(path))
    assert (status, err) == (0, "")
    figures = json.loads(path.read_text())["figures"]
    assert {figure["of"] for figure in figures} == {case.name for case in cases.SMALL}


def test_tuning_writes_sizes_for_the_rows_of_a_weight(bench, tmp_path, monkeypatch):
    values = {"columns": [16, 32], "depth": [128], "warps": [4], "stages": [4]}
    monkeypatch.setattr("sgjax.bench.kernels.tuning.read_candidates", lambda _: {"plain": values})
    path = tmp_path / "sizes.json"
    flags = ["--interpret", "--tune", "--kernel", "plain", "--cases", "plain 1 x"]
    status, _, err = bench(*flags, "--write", str(path))
    assert (status, err) == (0, "")
    (entries,) = json.loads(path.read_text())["product"].values()
    assert list(entries) == [str(72 * 2)]


def test_every_kernel_has_sizes_to_try():
    candidates = read_candidates("product")
    assert set(candidates) == {kernel.name for kernel in products.OP.kernels}
    for kernel in products.OP.kernels:
        case = next(case for case in cases.REAL if kernel.takes(case))
        assert dataclasses.asdict(kernel.sizes(case, None)).keys() == candidates[kernel.name].keys()

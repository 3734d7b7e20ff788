"""`sgjax bench kernels` on the CPU: the reference as it is, and the kernels in an interpreter."""

import dataclasses
import functools
import json
import re

import jax.numpy as jnp
import pytest

from sgjax.bench.kernels import attention, options
from sgjax.cli import main
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case

TINY = (
    Case("decode tiny", (3, 16, 9), S=4, C=1, kv_heads=1),
    Case("extend tiny", extend=((0, 5), (3, 4)), kv_heads=1),
    Case("shared tiny", (33, 33), groups=((2, 32),), kv_heads=1),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The operation with few small cases."""
    op = dataclasses.replace(attention.OP, small=TINY)
    monkeypatch.setattr(options, "OPS", (op,))
    return op


@pytest.fixture
def bench(capsys):
    def run(*args):
        return main(["bench", "kernels", *args]), *capsys.readouterr()

    return run


def test_bytes_and_operations_are_as_reckoned_by_hand():
    decode, extend, shared = TINY
    assert attention.num_bytes(decode) == (3 + 16 + 9) * 1 * 64 * 2 * 2
    assert attention.num_operations(decode) == 4 * 64 * 4 * (3 + 16 + 9)
    assert attention.num_operations(extend) == 4 * 64 * 4 * ((1 + 2 + 3 + 4 + 5) + (4 + 5 + 6 + 7))
    assert attention.num_bytes(shared) == (33 + 33 - 32) * 64 * 2 * 2


@pytest.mark.parametrize("how", [["--interpret"], []])
def test_every_case_is_checked_and_measured_beside_the_ceilings(how, bench, tmp_path):
    path = tmp_path / "report.json"
    status, out, err = bench(*how, "--json", str(path))
    assert (status, err) == (0, "")
    report = json.loads(path.read_text())
    assert report["benchmark"] == "kernels"
    assert {figure["of"] for figure in report["figures"]} == {case.name for case in TINY}
    parts = {figure["part"]: figure["value"] for figure in report["figures"]}
    assert parts.keys() == {"us", "TB/s", "TFLOP/s", "of copy", "of product", "error"}
    assert all(value > 0 for part, value in parts.items() if part != "error")
    assert 0 <= parts["error"] < 5e-3
    assert re.search(r"^copy: .* TB/s", out, re.MULTILINE)


def test_rates_are_bytes_and_operations_over_the_time(bench, tmp_path):
    path = tmp_path / "report.json"
    bench("--cases", "decode", "--no-check", "--json", str(path))
    found = {f["part"]: f["value"] for f in json.loads(path.read_text())["figures"]}
    seconds = found["us"] * 1e-6
    assert found["TB/s"] * 1e12 * seconds == pytest.approx(attention.num_bytes(TINY[0]))
    assert found["TFLOP/s"] * 1e12 * seconds == pytest.approx(attention.num_operations(TINY[0]))
    assert "error" not in found


@pytest.mark.parametrize("kernel", ["decode", "extend", "shared"])
def test_tuning_writes_sizes_that_the_kernel_takes(kernel, bench, tmp_path, monkeypatch):
    few = {"block": [16, 32], "warps": [4]}
    monkeypatch.setattr("sgjax.bench.kernels.tuning.read_candidates", lambda op: {kernel: few})
    path = tmp_path / "gpu.json"
    status, out, err = bench("--tune", "--interpret", "--kernel", kernel, "--write", str(path))
    assert (status, err) == (0, "")
    (entry,) = json.loads(path.read_text())["ragged_paged_attention"][kernel].items()
    assert entry[0] == "128"
    assert entry[1]["block"] in (16, 32, 64)
    tuned = next(each for each in attention.OP.kernels if each.name == kernel)
    assert type(tuned.sizes(TINY[0], None))(**entry[1])
    assert re.search(rf"^{kernel} 128: Sizes.* tried, 0 cannot run, 0 of them wrong", out)


def wrong_where(holds, kernel):
    """The kernel, but its results are too large where `holds(sizes)`."""

    def call(case, sizes, interpret):
        right = kernel.call(case, sizes, interpret)
        if not holds(sizes):
            return right
        return lambda *arrays: right(*arrays) * jnp.bfloat16(1.25)

    return dataclasses.replace(kernel, call=call)


def test_candidates_with_wrong_results_are_told_and_not_written(bench, tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(
        "sgjax.bench.kernels.tuning.read_candidates", lambda op: {"decode": {"block": [16, 32]}}
    )
    decode = wrong_where(lambda sizes: sizes.block < 64, tiny.kernels[0])
    monkeypatch.setattr(options, "OPS", (dataclasses.replace(tiny, kernels=(decode,)),))
    path = tmp_path / "gpu.json"
    status, out, _ = bench("--tune", "--interpret", "--write", str(path))
    assert status == 0
    assert "3 tried, 2 cannot run, 2 of them wrong" in out
    assert "WRONG: Sizes(block=16" in out and "decode tiny is off by 0.25" in out
    assert '"block": 64' in path.read_text()


def test_wrong_results_are_a_failure_and_no_figure(bench, monkeypatch, tiny):
    def call(case, implementation, interpret):
        right = tiny.call(case, implementation, interpret)
        if implementation == "reference":
            return right
        return lambda *arrays: right(*arrays) + jnp.bfloat16(1)

    monkeypatch.setattr(options, "OPS", (dataclasses.replace(tiny, call=call),))
    status, out, err = bench()
    assert (status, out) == (1, "")
    assert "decode tiny is wrong: it is off the reference by" in err


def test_sizes_that_cannot_run_are_passed_over(bench, tmp_path, monkeypatch):
    few = {"decode": {"block": [24, 64]}}  # no power of two
    monkeypatch.setattr("sgjax.bench.kernels.tuning.read_candidates", lambda op: few)
    path = tmp_path / "gpu.json"
    args = ["--tune", "--interpret", "--kernel", "decode", "--write", str(path)]
    refuse = functools.partial(refusing, lambda sizes: sizes.block == 24)
    monkeypatch.setattr("sgjax.bench.kernels.attention.triton_decode.decode", refuse())
    status, out, _ = bench(*args)
    assert status == 0
    assert "2 tried, 1 cannot run, 0 of them wrong" in out


def refusing(holds):
    """The decode kernel on a device that cannot do some sizes."""
    decode = attention.triton_decode.decode

    def call(*arrays, sizes, **rest):
        if holds(sizes):
            raise ValueError("out of shared memory")
        return decode(*arrays, sizes=sizes, **rest)

    return call


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--cases", "nothing"], "No case is called like nothing. There are: decode tiny"),
        (["--op", "attention"], "no operation 'attention'. Known: ragged_paged_attention"),
        (["--tune", "--kernel", "decoder"], "no kernel 'decoder'. Known: decode, extend, shared"),
        (["--tune"], "Without a GPU, say with --write"),
        (
            ["--tune", "--kernel", "extend", "--cases", "decode", "--write", "x"],
            "None of the cases",
        ),
        (["--suite", "huge"], "invalid choice: 'huge'"),
        (["--budget", "0"], "--budget: must be a number above 0"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_status_2(args, said, bench):
    status, out, err = bench(*args)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and said in err


def test_heads_of_other_sizes_are_cases_of_their_own(bench, tmp_path):
    path = tmp_path / "report.json"
    sizes = ["--head-size", "32", "--head-size", "80"]
    assert bench("--cases", "decode", *sizes, "--json", str(path))[0] == 0
    names = {figure["of"] for figure in json.loads(path.read_text())["figures"]}
    assert names == {"decode tiny, heads of 32", "decode tiny, heads of 80"}

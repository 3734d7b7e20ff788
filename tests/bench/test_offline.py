"""`sgjax bench offline` with a tiny model: what it runs, says and writes."""

import contextlib
import json
import re
import time

import jax
import pytest

from sgjax.bench import display, offline
from sgjax.bench.peers import marks_for, with_marks
from sgjax.bench.report import Figure
from sgjax.bench.shapes import read_shape
from sgjax.bench.start import compiled_since
from sgjax.bench.workloads import workloads
from sgjax.cli import main
from sgjax.errors import ConfigError
from tests.tiny import TinyLlama

H200 = {"device": "NVIDIA H200", "tp_size": 1, "dtype": "bfloat16"}

LIMITS = ["--max-running-requests", "4", "--max-total-tokens", "400"]
LIMITS += ["--chunked-prefill-size", "32", "--page-size", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return TinyLlama().save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def bench(model, capsys, monkeypatch):
    """Runs `sgjax bench offline`: the exit status, and what it says on both streams."""

    def run(*args):
        monkeypatch.setattr(offline, "WARM_UP_REQUESTS", 2)
        status = main(["bench", "offline", "--model-path", str(model), *LIMITS, *args])
        return status, *capsys.readouterr()

    return run


def test_all_workloads_give_a_figure_in_the_table_and_in_the_report(bench, tmp_path, no_leaks):
    path = tmp_path / "report.json"
    status, out, err = bench("all", "--scale", "0.01", "--json", str(path), "--label", "mine")
    assert (status, err) == (0, "")
    report = json.loads(path.read_text())
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert (report["benchmark"], report["label"]) == ("offline", "mine")
    assert report["observed"]["compiles_after_ready"] == 0
    assert report["settings"]["kv_tokens"] == 400
    assert report["settings"]["scale"] == 0.01
    assert {figure["unit"] for figure in report["figures"]} >= {"ms", "s", "tokens/s"}
    assert len(figures["decode-256"]["runs"]) == 4
    assert len(figures["prefill-1x8192"]["runs"]) == 3
    for name in ("start-ready", "decode-1", "prefill-32x1024", "lognormal", "tree"):
        assert any(line.startswith(name) for line in out.splitlines()), name
        assert any(line.startswith(f"│ {name}") for line in out.splitlines()), name
    assert "lognormal-output-tokens" in figures
    assert "lognormal-output-tokens" not in out


def test_requests_are_submitted_at_once_and_prompts_are_cached_only_for_decoding(
    bench, monkeypatch
):
    calls = []

    class Watched(offline.Engine):
        def generate(self, *args, **kwargs):
            answers = super().generate(*args, **kwargs)
            cached = [answer["meta_info"]["cached_tokens"] for answer in answers]
            calls.append((len(answers), sum(cached), len(answers[0]["output_ids"])))
            return answers

    monkeypatch.setattr("sgjax.front.engine.Engine", Watched)
    status, *_ = bench("decode-256", "prefill-32x1024", "--scale", "0.016")
    assert status == 0
    warm_up, fill, *decoding = calls[:6]
    assert warm_up[0] == offline.WARM_UP_REQUESTS
    assert fill == (4, 0, 1)
    assert decoding == [(4, 4 * 12, 1), (4, 4 * 12, 3)] * 2
    assert [call[1] for call in calls[7:]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["tre"], "no workload 'tre'. Did you mean tree"),
        ([], "Name a workload"),
        (["tree", "--scale", "0"], "--scale: must be a number above 0"),
        (["tree", "--shape", "qwen3-0.6b"], "--model-path and --shape both say which model"),
        (["tree", "--json", "/nowhere/x.json"], "There is no folder /nowhere for x.json"),
        (["tree", "--compare", "/nowhere/x.json"], "/nowhere/x.json cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_status_2(bench, args, said, no_leaks):
    status, _, err = bench(*args)
    assert status == 2
    assert err.count("\n") == 1 and re.search(said, err)


def test_a_workload_that_does_not_fit_the_engine_is_refused_before_any_is_measured(bench, no_leaks):
    status, out, err = bench("start", "decode-8", "--scale", "1")
    assert (status, out) == (2, "")
    assert "decode-8 has a request of 1153 tokens, but this engine takes 256" in err


def test_texts_are_encoded_by_a_model_of_vectors_and_by_no_other(bench, no_leaks):
    status, out, err = bench("encode", "--is-embedding", "--scale", "0.02")
    assert (status, err) == (0, "")
    assert re.search(r"^encode-256x512 .*tokens/s", out, re.MULTILINE)
    status, _, err = bench("decode-1", "--is-embedding", "--scale", "0.02")
    assert (status, err.count("\n")) == (2, 1)
    assert "decode-1 is not for this model, which gives vectors" in err
    status, _, err = bench("encode", "--scale", "0.02")
    assert (status, err.count("\n")) == (2, 1)
    assert "encode-32x512 is not for this model, which generates" in err


class Sized:
    """An engine of which only the limits matter."""

    def get_server_info(self):
        limits = {"context_length": 2000, "max_total_tokens": 4000, "max_running_requests": 8}
        return {"engine": {**limits, "task": "generate"}}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("prefill-1x8192", "a request of 8193 tokens, but this engine takes 2000"),
        ("decode-32", "decodes 32 requests at a time, but this engine runs 8"),
        ("decode-8", "keeps 9224 tokens in the cache, but this engine's holds 4000"),
        ("throughput-1024-128", None),
        ("decode-1", None),
    ],
)
def test_workload_must_be_run_as_it_is_meant(name, said):
    bench = offline.Bench(Sized())
    if said is None:
        bench.check(workloads()[name])
    else:
        with pytest.raises(ConfigError, match=said):
            bench.check(workloads()[name])


def test_an_answer_that_is_too_short_is_no_measurement_and_what_came_before_is_kept(
    bench, monkeypatch, tmp_path, no_leaks
):
    class Short(offline.Engine):
        def generate(self, *args, **kwargs):
            answers = super().generate(*args, **kwargs)
            answers[-1]["output_ids"].pop()
            return answers

    monkeypatch.setattr("sgjax.front.engine.Engine", Short)
    path = tmp_path / "report.json"
    status, _, err = bench("start", "tree", "--scale", "0.01", "--json", str(path))
    assert status == 1
    assert "tree failed: A request gave 15 tokens instead of 16" in err
    names = [figure["name"] for figure in json.loads(path.read_text())["figures"]]
    names = [name.removesuffix("-warm") for name in names]
    assert names[:3] == ["start-serving", "start-ready", "start-preparing"]
    assert names[-1] == "kv-tokens"
    assert {"start-tracing", "start-lowering", "start-compiling"} < {*names}


@pytest.fixture
def jax_option():
    """Sets an option of JAX for the time of a test."""
    with contextlib.ExitStack() as stack:

        def set_option(name, value):
            stack.callback(jax.config.update, name, jax.config.values[name])
            jax.config.update(name, value)

        yield set_option


def test_a_start_is_warm_if_nothing_new_is_in_the_compilation_cache(tmp_path, jax_option):
    jax_option("jax_compilation_cache_dir", str(tmp_path))
    before = time.time()
    (tmp_path / "program-atime").touch()
    assert not compiled_since(before - 1)
    (tmp_path / "program-cache").touch()
    assert compiled_since(before - 1)
    assert not compiled_since(before + 60)
    jax_option("jax_enable_compilation_cache", False)
    assert compiled_since(before + 60)


def test_goals_and_peers_stand_beside_figures_of_the_same_machine_and_shape():
    llama = read_shape("llama-3.1-8b")
    marks = marks_for(H200, llama | {"max_position_embeddings": 16384})
    ours = Figure(name="decode-64", value=7.0, unit="ms")
    (held,) = with_marks([ours], marks)
    assert held.goal == 6.6
    assert held.peers == {"vLLM 0.20.2": 7.79, "SGLang 0.5.14": 7.66}
    assert "goal 6.6, vLLM 0.20.2 7.79" in display.figure_line(held)
    in_seconds = Figure(name="decode-64", value=7.0, unit="s")
    assert with_marks([in_seconds], marks) == [in_seconds]


@pytest.mark.parametrize(
    ("engine", "model"),
    [
        ({"device": "NVIDIA H100"}, {}),
        ({"tp_size": 2}, {}),
        ({"dtype": "float16"}, {}),
        ({}, {"hidden_size": 2048}),
    ],
)
def test_elsewhere_there_is_nothing_to_hold_figures_against(engine, model):
    assert marks_for(H200 | engine, read_shape("llama-3.1-8b") | model) == {}


def test_marks_are_for_workloads_that_there_are():
    of_start = {"kv-tokens", "start-serving", "start-ready", "start-ready-warm"}
    unmarked = {"start"} | {name for name in workloads() if name.startswith(("json-", "encode-"))}
    names = {*workloads()} - unmarked | of_start
    assert marks_for(H200, read_shape("llama-3.1-8b")).keys() == names
    assert marks_for(H200, read_shape("qwen3-0.6b")).keys() < names


def test_table_says_which_goals_are_reached_and_how_far_ahead_of_the_best_peer_we_are(capsys):
    figures = [
        Figure(name="decode-1", value=4.0, unit="ms", goal=4.1, peers={"A": 5.0, "B": 4.8}),
        Figure(
            name="prefill", value=900, unit="tokens/s", goal=1000, peers={"A": 1000, "B": 600},
            is_more_better=True,
        ),
    ]  # fmt: skip
    display.output_console().print(display.figures_table(figures))
    lines = [line.split() for line in capsys.readouterr().out.replace("│", " ").splitlines()]
    assert ["decode-1", "4", "ms", "4.1", "yes", "5", "4.8", "1.20x"] in lines
    assert ["prefill", "900", "tokens/s", "1,000", "no", "1,000", "600", "0.90x"] in lines


def test_latency_measures_one_batch_of_the_sizes_asked_for(model, capsys, tmp_path):
    path = tmp_path / "report.json"
    sizes = ["--batch-size", "3", "--input-len", "20", "--output-len", "4"]
    line = ["bench", "latency", *LIMITS, "--model-path", str(model), *sizes]
    assert main([*line, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert report["benchmark"] == "latency"
    assert report["settings"]["batch_size"] == 3
    assert {"prefill", "prefill-rate", "decode", "whole"} <= figures.keys()
    rate = figures["whole-output-tokens"]["value"]
    assert rate == pytest.approx(3 * 4 / figures["whole"]["value"])
    assert "whole-output-tokens" in capsys.readouterr().out


def test_what_is_too_long_is_refused_before_all_programs_are_compiled(model, capsys, monkeypatch):
    class NeverReady(offline.Engine):
        def get_server_info(self):
            info = super().get_server_info()
            return info | {"stats": info["stats"] | {"ready": False}}

    monkeypatch.setattr("sgjax.front.engine.Engine", NeverReady)
    line = ["bench", "latency", *LIMITS, "--model-path", str(model), "--input-len", "5000"]
    assert main(line) == 2
    err = capsys.readouterr().err
    assert "a request of 5001 tokens" in err
    assert "--input-len" in err


def test_latency_needs_two_tokens_for_a_step(capsys):
    assert main(["bench", "latency", "--output-len", "1"]) == 2
    assert "--output-len: must be an integer of at least 2, not 1" in capsys.readouterr().err

"""`sgjax bench offline json` with a tiny model: bound outputs, and those beside them."""

import json

import pytest

from sgjax.bench import offline
from sgjax.bench.shapes import shape_folder
from sgjax.bench.words import save_tokenizer
from sgjax.cli import main
from sgjax.text import load_tokenizer
from tests import tiny_tokenizer
from tests.tiny import TinyLlama

LIMITS = ["--max-running-requests", "4", "--max-total-tokens", "4000", "--page-size", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = TinyLlama(vocab_size=len(tiny_tokenizer.PIECES), context_length=600).save(
        tmp_path_factory.mktemp("model")
    )
    tiny_tokenizer.save_tokenizer(folder)
    return folder


@pytest.fixture
def bench(capsys, monkeypatch, tmp_path):
    """Runs `sgjax bench offline`: the exit status, figures by name, and what it says of errors."""

    def run(*args):
        monkeypatch.setattr(offline, "WARM_UP_REQUESTS", 2)
        path = tmp_path / "report.json"
        status = main(["bench", "offline", *LIMITS, "--json", str(path), *args])
        figures = json.loads(path.read_text())["figures"] if path.exists() else []
        return status, {each["name"]: each["value"] for each in figures}, capsys.readouterr().err

    return run


def test_bound_workloads_give_rates_steps_and_what_was_forced(bench, folder, no_leaks):
    status, figures, err = bench("json", "--model-path", str(folder), "--scale", "0.06")
    assert (status, err) == (0, "")
    assert list(figures) == [
        "json-character",
        "json-character-tokens",
        "json-character-forced",
        "json-survey",
        "json-survey-tokens",
        "json-survey-forced",
        "json-decode-64",
        "json-beside-64",
        "json-beside-jumps-64",
    ]
    assert all(value > 0 for value in figures.values())
    assert 0.3 < figures["json-character-forced"] < figures["json-survey-forced"] < 1


def test_without_jumps_nothing_is_forced(bench, folder):
    status, figures, err = bench(
        "json-survey", "--model-path", str(folder), "--scale", "0.03", "--disable-jump-forward"
    )
    assert (status, err) == (0, "")
    assert figures["json-survey-forced"] == 0


def test_a_model_without_a_tokenizer_is_a_clear_error(bench, tmp_path):
    folder = TinyLlama(context_length=600).save(tmp_path / "model")
    status, _, err = bench("json-survey", "--model-path", str(folder))
    assert status != 0
    assert "tokenizer" in err and len(err.splitlines()) == 1


def test_a_shape_gets_a_tokenizer_of_its_size():
    with shape_folder("qwen3-0.6b", has_tokenizer=True) as folder:
        tokenizer = load_tokenizer(folder)
        size = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert tokenizer.vocab_size == size
    text = '{"name": "Ümlaut", "n": [1, 23, 456]}\n'
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tokenizers_of_a_size_are_always_the_same(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_tokenizer(tmp_path / name, 3000)
    texts = [(tmp_path / name / "tokenizer.json").read_text() for name in ("a", "b")]
    assert texts[0] == texts[1]

"""`sgjax generate` and `sgjax chat` with a real engine: a tiny model of random weights."""

import io
import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from sgjax.cli import main

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 256,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
}
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
SMALL = ["--load-format", "dummy", "--max-running-requests", "1", "--chunked-prefill-size", "32"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder: Path = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)


def test_generate_prints_what_follows_and_a_seed_repeats_it(model: str, capsys, no_leaks):
    line = ["generate", "Once", "--model-path", model, "--max-new-tokens", "12", "--seed", "1"]
    assert main([*line, *SMALL]) == 0
    first = capsys.readouterr().out
    assert len(first) > 1 and first.endswith("\n")
    assert main([*line, *SMALL]) == 0
    assert capsys.readouterr().out == first


def test_chat_answers_line_by_line_and_says_what_does_not_fit(model: str, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"hello\n{'long' * 40}\nagain\n"))
    assert main(["chat", model, "--max-new-tokens", "4", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") >= 3
    assert re.search(r"context length is 128 tokens, but .* Use \d+ fewer", err)


def test_prompt_that_is_too_long_is_refused_with_both_numbers(model: str, capsys):
    assert main(["generate", "x" * 200, "--model-path", model, *SMALL]) == 2
    assert "200" in capsys.readouterr().err


def test_chat_without_a_template_is_refused_before_anything_is_loaded(model: str, tmp_path, capsys):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((Path(model) / name).read_bytes())
    assert main(["chat", str(tmp_path), *SMALL]) == 2
    assert "no chat template" in capsys.readouterr().err


def test_model_that_is_not_there_is_one_line_on_stderr(tmp_path, capsys):
    assert main(["generate", "x", "--model-path", str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("sgjax: ") and err.count("\n") == 1

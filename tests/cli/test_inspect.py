import json

import pytest

from sgjax.cli import main
from tests.models import published_moe
from tests.models.published import MODELS
from tests.models.published_embedders import say_modules
from tests.tiny import TinyLlama


def inspected(capsys, *args: str) -> str:
    assert main(["inspect", *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def published(tmp_path, name: str) -> str:
    config = (MODELS | published_moe.MODELS)[name].config
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_a_large_model_is_told_without_its_weights(capsys, tmp_path):
    folder = published(tmp_path, "Llama-3.1-8B")
    out = inspected(capsys, folder, "--device-memory", "80G", "--mem-fraction-static", "0.9")
    assert "LlamaForCausalLM, family llama" in out
    assert "parameters      8,030,261,248, in bfloat16 14.96 GiB" in out
    assert "weights 14.96 GiB, cache 131,072 bytes a token" in out
    tokens = (int(80 * 2**30 * 0.9) - 8030261248 * 2) // 131072
    assert f"fits            80.00 GiB (given) a device: {tokens:,} tokens" in out
    assert "32 heads of 128, 8 of keys and values" in out
    assert "weights         none here" in out


@pytest.mark.parametrize(
    ("dtype", "told"),
    [("half", "float16 14.96"), ("float", "float32 29.92"), ("auto", "bfloat16 14.96")],
)
def test_a_dtype_goes_by_all_its_names(capsys, tmp_path, dtype, told):
    out = inspected(capsys, published(tmp_path, "Llama-3.1-8B"), "--dtype", dtype)
    assert f"in {told} GiB" in out


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Mistral-7B-v0.1", "windows         4096 in 32 layers"),
        ("Llama-4-Scout, text", "chunks          8192 in 36 layers"),
    ],
)
def test_layers_that_see_a_part_of_the_text_are_told(capsys, tmp_path, name, told):
    assert told in inspected(capsys, published(tmp_path, name))


def test_devices_share_weights_and_cache(capsys, tmp_path):
    folder = published(tmp_path, "Llama-3.1-70B")
    out = inspected(capsys, folder, "--device-memory", "80G")
    assert "does not fit    80.00 GiB (given) a device" in out
    assert "too little. Spread it with --tp-size." in out
    out = inspected(capsys, folder, "--device-memory", "80G", "--tp-size", "4")
    assert "a device        of 4: weights 32.8" in out
    assert "cache 81,920 bytes a token" in out
    assert "fits" in out


@pytest.mark.parametrize("tp", ["1", "16"])
def test_parameters_are_counted_once_however_many_devices_hold_them(capsys, tmp_path, tp):
    out = inspected(capsys, published(tmp_path, "Llama-3.1-8B"), "--tp-size", tp)
    assert "parameters      8,030,261,248, in bfloat16 14.96 GiB" in out


@pytest.mark.parametrize(
    ("pooling", "told"),
    [
        ("mean_tokens", "a vector, of the mean of all tokens' states, not text"),
        ("lasttoken", "a vector, of the last token's state, not text"),
    ],
)
def test_what_a_vector_is_of_is_told(capsys, tmp_path, pooling, told):
    say_modules(tmp_path, {f"pooling_mode_{pooling}": True})
    assert f"gives           {told}" in inspected(capsys, published(tmp_path, "Qwen3-8B"))


def test_the_tensors_of_a_checkpoint_are_checked(capsys, tmp_path):
    folder = TinyLlama().save(tmp_path / "model")
    assert "21 tensors, all that there should be" in inspected(capsys, str(folder))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert main(["inspect", str(folder)]) == 2
    assert "missing: model.layers.2." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--tp-size", "3"), "--tp-size 3 does not divide"),
        (("--device-memory", "much"), "--device-memory"),
    ],
)
def test_what_cannot_be_is_refused(capsys, tmp_path, args, message):
    assert main(["inspect", published(tmp_path, "Llama-3.1-8B"), *args]) == 2
    assert message in capsys.readouterr().err

"""Models that give a vector a text: transformers' hidden states, pooled as the checkpoint says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

import sgjax
from sgjax.errors import ConfigError, ContextTooLong, InvalidRequest
from sgjax.models import read_model_config
from sgjax.models.family import Pooling
from tests.models.cases import SIZES
from tests.models.published_embedders import say_modules

pytestmark = pytest.mark.torch

OPTIONS = {
    "skip_tokenizer_init": True,
    "page_size": 4,
    "max_total_tokens": 256,
    "max_running_requests": 4,
    "chunked_prefill_size": 16,
}
TEXTS = [list(range(3, 40)), [7], [3, 4, 5, 6, 7, 8, 9, 10, 11, 60], list(range(3, 30))]
"""Two begin alike; one has a single token."""
TOLERANCE = 1e-5
LAST = {"pooling_mode_lasttoken": True}
MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
FIRST = {"pooling_mode_cls_token": True}


def save(cls: Any, config: transformers.PreTrainedConfig, folder: Path) -> Any:
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    model = cls(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in name else 0.0, 0.3 if weight.ndim == 1 else 0.15)
    model.save_pretrained(folder)
    return model


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def states(model: Any, ids: list[int], *, is_causal: bool = True) -> np.ndarray:
    mask = None
    if not is_causal:
        mask = torch.zeros(1, 1, len(ids), len(ids))
    with torch.no_grad():
        out = model(torch.tensor([ids]), attention_mask=mask, use_cache=False)
    return out.last_hidden_state[0].numpy()


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def vectors(folder: Path, texts: list[list[int]] = TEXTS, **options: Any) -> list[np.ndarray]:
    with sgjax.Engine(model_path=str(folder), **OPTIONS | options) as engine:
        answers = engine.encode(input_ids=texts)
    return [np.array(answer["embedding"]) for answer in answers]


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("qwen3")
    return folder, save(transformers.Qwen3Model, transformers.Qwen3Config(**SIZES), folder)


@pytest.mark.parametrize("tp", [1, 2])
def test_the_last_tokens_state_is_the_embedding_whatever_is_cached(qwen3, tp):
    folder, model = qwen3
    with sgjax.Engine(model_path=str(folder), tp_size=tp, **OPTIONS) as engine:
        for _ in range(2):
            answers = engine.encode(input_ids=TEXTS)
            for ids, answer in zip(TEXTS, answers, strict=True):
                expected = unit(states(model, ids)[-1])
                np.testing.assert_allclose(answer["embedding"], expected, atol=TOLERANCE)
                assert answer["meta_info"]["prompt_tokens"] == len(ids)
        assert [answer["meta_info"]["cached_tokens"] for answer in answers] == [36, 0, 8, 24]
        longest = list(range(2, 66))
        np.testing.assert_allclose(
            engine.encode(input_ids=longest)["embedding"],
            unit(states(model, longest)[-1]),
            atol=TOLERANCE,
        )
        with pytest.raises(ContextTooLong, match="64 tokens, but the prompt has 65"):
            engine.encode(input_ids=[5] * 65)
        with pytest.raises(InvalidRequest, match="generates no text"):
            engine.generate(input_ids=[5])


@pytest.mark.parametrize(("pooling", "of"), [(MEAN, "mean"), (FIRST, "first"), (LAST, "last")])
@pytest.mark.parametrize("ends", [("Normalize",), ()])
def test_modules_json_says_how_states_are_pooled(tmp_path, pooling, of, ends):
    model = save(transformers.Qwen2Model, transformers.Qwen2Config(**SIZES), tmp_path)
    say_modules(tmp_path, pooling, *ends)
    for ids, found in zip(TEXTS, vectors(tmp_path), strict=True):
        every = states(model, ids)
        expected = {"mean": every.mean(0), "first": every[0], "last": every[-1]}[of]
        expected = unit(expected) if ends else expected
        np.testing.assert_allclose(found, expected, atol=10 * TOLERANCE)


@pytest.mark.parametrize(
    ("mode", "of"), [("mean", "mean"), ("cls", "first"), ("lasttoken", "last"), (["cls"], "first")]
)
def test_the_pooling_may_be_named_as_late_versions_write_it(qwen3, tmp_path, mode, of):
    (tmp_path / "config.json").write_text((qwen3[0] / "config.json").read_text())
    say_modules(tmp_path, {"pooling_mode": mode}, "Normalize")
    assert read_model_config(tmp_path)[1].pooling == Pooling(of=of)


def test_a_model_that_is_not_causal_sees_the_whole_text(tmp_path):
    """As gte-Qwen2's config.json says; whole texts are computed in one step, past the chunks."""
    config = transformers.Qwen2Config(**SIZES)
    model = save(transformers.Qwen2ForCausalLM, config, tmp_path)
    edit_config(tmp_path, is_causal=False)
    for ids, found in zip(TEXTS, vectors(tmp_path, is_embedding=True), strict=True):
        expected = unit(states(model.model, ids, is_causal=False)[-1])
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        if len(ids) > 1:
            assert np.abs(expected - unit(states(model.model, ids)[-1])).max() > 0.01
    with pytest.raises(ConfigError, match="is_causal = false is supported for embeddings only"):
        read_model_config(tmp_path)


def test_any_decoder_gives_embeddings_when_asked(tmp_path):
    config = transformers.LlamaConfig(**SIZES)
    model = save(transformers.LlamaForCausalLM, config, tmp_path)
    (found,) = vectors(tmp_path, TEXTS[:1], is_embedding=True)
    np.testing.assert_allclose(found, unit(states(model.model, TEXTS[0])[-1]), atol=TOLERANCE)


def test_names_without_their_prefix_are_found_whatever_the_architecture_says(qwen3, tmp_path):
    """As Qwen3-Embedding is published: the generator's architecture, the bare model's tensors."""
    folder, model = qwen3
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config.json").unlink()
    values = json.loads((folder / "config.json").read_text())
    values |= {"architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(values))
    say_modules(tmp_path, LAST, "Normalize")
    (found,) = vectors(tmp_path, TEXTS[:1])
    np.testing.assert_allclose(found, unit(states(model, TEXTS[0])[-1]), atol=TOLERANCE)


@pytest.mark.parametrize("num_labels", [1, 3])
def test_a_classifier_gives_the_scores_of_its_labels(tmp_path, num_labels):
    config = transformers.LlamaConfig(**SIZES, num_labels=num_labels, pad_token_id=0)
    model = save(transformers.LlamaForSequenceClassification, config, tmp_path)
    with torch.no_grad():
        expected = model(torch.tensor([TEXTS[0]])).logits[0].numpy()
    (found,) = vectors(tmp_path, TEXTS[:1])
    assert found.shape == (num_labels,)
    np.testing.assert_allclose(found, expected, atol=10 * TOLERANCE)


def test_sglangs_classifier_has_a_head_with_biases(tmp_path):
    model = save(transformers.LlamaForCausalLM, transformers.LlamaConfig(**SIZES), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["lm_head.weight"]
    head, bias = np.random.default_rng(0).normal(size=(2, 5, 64)).astype(np.float32)
    tensors |= {"classification_head.weight": head, "classification_head.bias": bias[:, 0].copy()}
    save_file(tensors, tmp_path / "model.safetensors")
    edit_config(tmp_path, architectures=["LlamaForClassification"], classification_out_size=5)
    (found,) = vectors(tmp_path, TEXTS[:1])
    expected = head @ states(model.model, TEXTS[0])[-1] + bias[:, 0]
    np.testing.assert_allclose(found, expected, atol=10 * TOLERANCE)


@pytest.mark.parametrize(
    ("pooling", "others", "message"),
    [
        ({"pooling_mode_max_tokens": True}, (), "asks for pooling_mode_max_tokens; supported: one"),
        (MEAN | FIRST, (), "asks for pooling_mode_mean_tokens, pooling_mode_cls_token"),
        ({"pooling_mode": "max"}, (), "asks for max; supported: one"),
        ({"pooling_mode": ["cls", "mean"]}, (), "asks for cls, mean; supported: one"),
        (MEAN, ("Dense",), "a module of type 'Dense', which is not supported"),
    ],
)
def test_what_cannot_be_pooled_is_refused(qwen3, tmp_path, pooling, others, message):
    (tmp_path / "config.json").write_text((qwen3[0] / "config.json").read_text())
    say_modules(tmp_path, pooling, *others)
    with pytest.raises(ConfigError, match=message):
        read_model_config(tmp_path)


def test_sentence_transformers_own_limit_holds_unless_another_is_asked_for(qwen3, tmp_path):
    (tmp_path / "config.json").write_text((qwen3[0] / "config.json").read_text())
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    assert read_model_config(tmp_path)[1].context_length == 32
    assert read_model_config(tmp_path, context_length=48)[1].context_length == 48

"""Encoders give transformers' hidden states and scores."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from flax import nnx
from safetensors.numpy import load_file, save_file

import sgjax
from sgjax.errors import ConfigError, ContextTooLong
from sgjax.models import read_model_config
from sgjax.models.decoder import build
from sgjax.models.family import Pooling
from sgjax.sharding.mesh import Placement, make_mesh
from sgjax.weights.rules import sources
from tests.models import published_encoders as published
from tests.models.cases import encoders
from tests.models.harness import MAX_TOKENS, Stepper, make_weights_matter
from tests.models.published_embedders import say_modules
from tests.models.test_pooled import MEAN, unit

pytestmark = pytest.mark.torch

TOLERANCE = 1e-4
CASES = encoders.CASES
FEATURES = [(name, feature) for name, case in CASES.items() for feature in case.without]
VOCABULARY = encoders.SIZES["vocab_size"]
LENGTHS = {"one": 1, "short": 9, "long": 22}
"""Of the texts of one step: they fill it."""

Saved = Callable[[str], tuple[Path, Any]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The checkpoint of a case, and transformers' model of it: made once."""
    folder = tmp_path_factory.mktemp("encoders")
    models: dict[str, Any] = {}

    def get(name: str) -> tuple[Path, Any]:
        if name not in models:
            models[name] = save(CASES[name].config, folder / name)
        return folder / name, models[name]

    return get


def save(config: Any, folder: Path, cls: Any = transformers.AutoModel) -> Any:
    torch.manual_seed(0)
    model = reference(config, cls)
    make_weights_matter(model)
    model.save_pretrained(folder)
    return model


def reference(config: Any, cls: Any = transformers.AutoModel) -> Any:
    config._attn_implementation = "eager"
    make = getattr(cls, "from_config", cls)
    return make(config).eval()


def texts() -> dict[str, np.ndarray]:
    assert sum(LENGTHS.values()) == MAX_TOKENS
    rng = np.random.default_rng(1)
    return {name: rng.integers(4, VOCABULARY, length) for name, length in LENGTHS.items()}


def states(model: Any, ids: Any, types: Any = None) -> np.ndarray:
    more = {} if types is None else {"token_type_ids": torch.tensor(types)[None]}
    with torch.no_grad():
        return model(torch.tensor(ids)[None], **more).last_hidden_state[0].numpy()


def scores(model: Any, ids: Any) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(ids)[None]).logits[0].numpy()


EVERY_STATE = Pooling(of="last", is_normalised=False)
"""Of each token whose result is wanted, its own state."""


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_states_of_all_tokens_are_those_of_transformers(name: str, tp: int, saved: Saved):
    folder, model = saved(name)
    ids = texts()
    found = Stepper(folder, tp, pooling=EVERY_STATE).step(list(ids.items()))
    for row, tokens in ids.items():
        expected = states(model, tokens)
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=TOLERANCE, err_msg=row)


@pytest.mark.parametrize(("name", "feature"), FEATURES)
def test_without_a_feature_the_comparison_would_fail(name: str, feature: str, saved: Saved):
    _, model = saved(name)
    without = reference(CASES[name].without[feature])
    without.load_state_dict(model.state_dict(), strict=False)
    ids = texts()["long"]
    assert np.abs(states(model, ids) - states(without, ids)).max() > 100 * TOLERANCE


def test_the_tokens_of_a_pairs_second_text_are_of_another_type(saved: Saved):
    folder, model = saved("bert")
    ids = texts()
    types = {name: np.arange(len(tokens)) > 4 for name, tokens in ids.items()}
    typed = [(name, tokens + VOCABULARY * types[name]) for name, tokens in ids.items()]
    found = Stepper(folder, pooling=EVERY_STATE).step(typed)
    for row, tokens in ids.items():
        expected = states(model, tokens, types[row].astype(int))
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=TOLERANCE, err_msg=row)
    plain = states(model, ids["long"])
    assert np.abs(expected - plain).max() > 100 * TOLERANCE


OPTIONS: Any = {
    "skip_tokenizer_init": True,
    "page_size": 4,
    "max_total_tokens": 256,
    "max_running_requests": 4,
    "chunked_prefill_size": 16,
}
WHOLE = list(range(4, 68))
"""As long as the context."""
PROMPTS = [[7], WHOLE, list(range(5, 36)), WHOLE[:20], [7, 8]]


@pytest.mark.parametrize("tp", [1, 2])
def test_an_engine_embeds_texts_up_to_the_context_past_its_chunks(tp: int, saved: Saved):
    """Nothing of a text is kept for the next one, and none longer than the context is taken."""
    folder, model = saved("xlm-roberta")
    with sgjax.Engine(model_path=str(folder), tp_size=tp, **OPTIONS) as engine:
        for _ in range(2):
            answers = engine.encode(input_ids=PROMPTS)
            for ids, answer in zip(PROMPTS, answers, strict=True):
                expected = unit(states(model, ids)[0])
                np.testing.assert_allclose(answer["embedding"], expected, atol=TOLERANCE)
                assert answer["meta_info"]["cached_tokens"] == 0
        with pytest.raises(ContextTooLong, match="64 tokens, but the prompt has 65"):
            engine.encode(input_ids=[*WHOLE, 5])


def test_modules_json_says_how_an_encoders_states_are_pooled(saved: Saved, tmp_path: Path):
    folder, model = saved("bert")
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    say_modules(tmp_path, MEAN, "Normalize")
    ids = texts()
    found = Stepper(tmp_path).step(list(ids.items()))
    for row, tokens in ids.items():
        expected = unit(states(model, tokens).mean(0))
        np.testing.assert_allclose(found[row][-1], expected, rtol=0, atol=TOLERANCE)


def labelled(name: str, num_labels: int, **values: Any) -> Any:
    config = CASES[name].config
    return type(config)(**config.to_dict() | {"num_labels": num_labels} | values)


CLASSIFIERS = {
    "bert": (labelled("bert", 3), transformers.BertForSequenceClassification),
    "roberta": (labelled("roberta", 2), transformers.RobertaForSequenceClassification),
    "xlm-roberta": (labelled("xlm-roberta", 1), transformers.XLMRobertaForSequenceClassification),
    "modernbert": (
        labelled("modernbert", 3, classifier_pooling="cls"),
        transformers.ModernBertForSequenceClassification,
    ),
    "modernbert of means": (
        labelled("modernbert with biases", 1, classifier_pooling="mean", classifier_bias=True),
        transformers.ModernBertForSequenceClassification,
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_the_scores_of_its_labels(name: str, tmp_path: Path):
    config, cls = CLASSIFIERS[name]
    model = save(config, tmp_path, cls)
    ids = texts()
    found = Stepper(tmp_path, tp=2 if name == "bert" else 1).step(list(ids.items()))
    for row, tokens in ids.items():
        expected = scores(model, tokens)
        np.testing.assert_allclose(found[row][-1], expected, rtol=0, atol=TOLERANCE)


MASKED = {
    "bert": transformers.BertForMaskedLM,
    "roberta": transformers.RobertaForMaskedLM,
    "xlm-roberta": transformers.XLMRobertaForMaskedLM,
    "modernbert": transformers.ModernBertForMaskedLM,
}


@pytest.mark.parametrize("name", MASKED)
def test_a_head_that_guesses_masked_tokens_is_left_out(name: str, tmp_path: Path):
    model = save(CASES[name].config, tmp_path, MASKED[name])
    ids = texts()["short"]
    found = Stepper(tmp_path, pooling=EVERY_STATE).step([("short", ids)])["short"]
    expected = states(model.base_model, ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", published.CLASSIFIERS)
def test_a_published_classifier_has_its_head_and_tables_fill_it_once(name: str, tmp_path: Path):
    config = published.MODELS[name].config
    (tmp_path / "config.json").write_text(json.dumps(config))
    family, cfg = read_model_config(tmp_path)
    _, state = nnx.split(build(family, cfg, Placement(make_mesh(1))))
    shapes = {".".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}
    assert sum(map(math.prod, shapes.values())) == published.CLASSIFIERS[name]
    filled = [each.path for each in sources(family.weights, 1) if each.path in shapes]
    ends = [path for path in shapes if path.startswith("pooler.")]
    assert sorted(path for path in filled if path.startswith("pooler.")) == sorted(ends)


BERT, MODERN = published.BERT, published.MODERN_BERT
BAD = {
    "relative positions": (
        BERT | {"position_embedding_type": "relative_key"},
        "position_embedding_type = \"relative_key\" is supported as 'absolute' only",
    ),
    "a decoder": (BERT | {"is_decoder": True}, "is_decoder = true is supported as False only"),
    "another model's states": (BERT | {"add_cross_attention": True}, "add_cross_attention = true"),
    "no token types": (
        {key: value for key, value in BERT.items() if key != "type_vocab_size"},
        "lacks 'type_vocab_size'",
    ),
    "an unknown key": (BERT | {"alibi": True}, "keys that BertForMaskedLM does not know.*alibi"),
    "an activation": (BERT | {"hidden_act": "relu"}, "is not known; known: silu"),
    "no room for positions": (
        published.BGE_RERANKER | {"max_position_embeddings": 2},
        "max_position_embeddings = 2 must be above 2",
    ),
    "padding without an id": (
        published.BGE_RERANKER | {"pad_token_id": -1},
        "pad_token_id = -1 must be an integer of at least 0",
    ),
    "another pooling": (MODERN | {"classifier_pooling": "max"}, '"max" is not known; known: cls'),
    "a decoder of words": (
        BERT | {"architectures": ["BertLMHeadModel"]},
        "'BertLMHeadModel' is not supported. Supported: .*BertModel",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_an_encoder_cannot_be_is_refused_by_name(name: str, tmp_path: Path):
    values, message = BAD[name]
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=message):
        read_model_config(tmp_path)


@pytest.mark.parametrize("named", ["absolute", "rope", "sans_pos"])
def test_modernbert_turns_whatever_its_config_calls_that(named: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(MODERN | {"position_embedding_type": named}))
    assert read_model_config(tmp_path)[1].layer_rope(0) is not None


def test_no_text_may_be_longer_than_there_are_positions(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(published.BGE_RERANKER))
    with pytest.raises(ConfigError, match=r"--context-length 8193 must be in \[1, 8192\]") as error:
        read_model_config(tmp_path, context_length=8193)
    assert "rope_scaling" not in str(error.value)  # it would stretch nothing


def test_norms_are_found_by_their_older_names(saved: Saved, tmp_path: Path):
    """As bert-base-uncased is published."""
    folder, model = saved("bert")
    (tmp_path / "config.json").symlink_to(folder / "config.json")
    changed = {"Norm.weight": "Norm.gamma", "Norm.bias": "Norm.beta"}
    older = {
        f"bert.{re.sub('Norm.(weight|bias)', lambda m: changed[m[0]], name)}": tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(older, tmp_path / "model.safetensors")
    ids = texts()["short"]
    found = Stepper(tmp_path, pooling=EVERY_STATE).step([("short", ids)])["short"]
    np.testing.assert_allclose(found, states(model, ids), rtol=0, atol=TOLERANCE)

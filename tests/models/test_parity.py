"""Every family gives transformers' logits, however the tokens are cut into steps."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
from transformers import DynamicCache, LlamaConfig, Phi3Config, PreTrainedModel

from sgjax.models import FAMILIES
from tests.models import cases
from tests.models.cases import PLAIN, SIZES, moe, rope, variants
from tests.models.harness import SCHEDULE, Stepper, reference, reference_logits, save, sequences

pytestmark = pytest.mark.torch

TOLERANCE = 1e-4
NUM_GREEDY = 4

CASES = cases.of_generators()
FEATURES = [(name, feature) for name, case in CASES.items() for feature in case.without]

Saved = Callable[[str], tuple[Path, PreTrainedModel]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The checkpoint of a case, and transformers' model of it: made once."""
    folder = tmp_path_factory.mktemp("checkpoints")
    models: dict[str, PreTrainedModel] = {}

    def get(name: str) -> tuple[Path, PreTrainedModel]:
        if name not in models:
            case = CASES[name]
            models[name] = save(case.config, folder / name, case.convert)
            case.publish(folder / name)
        return folder / name, models[name]

    return get


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers_in_any_cut(name: str, tp: int, saved: Saved):
    """And so are the tokens that follow, each the likeliest, and logprobs there."""
    folder, model = saved(name)
    tokens = sequences(SIZES["vocab_size"])
    stepper = Stepper(folder, tp)
    found = stepper.run(SCHEDULE, tokens)
    followed = stepper.continue_greedily(found, NUM_GREEDY)
    for row, ids in tokens.items():
        greedy, logprobs = followed[row]
        logits = reference_logits(model, np.append(ids, greedy))
        expected, behind = logits[: len(ids)], logits[len(ids) - 1 : -1]
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=TOLERANCE, err_msg=row)
        assert greedy == behind.argmax(axis=-1).tolist(), row
        expected = scipy.special.log_softmax(behind, axis=-1)
        np.testing.assert_allclose(logprobs, expected, rtol=0, atol=TOLERANCE, err_msg=row)


@pytest.mark.parametrize("name", [*moe.SPLIT_BY_EXPERT, "deepseek_v3"])
def test_devices_with_experts_of_their_own_give_the_same_logits(name: str, saved: Saved):
    folder, model = saved(name)
    tokens = sequences(SIZES["vocab_size"])
    found = Stepper(folder, 2, ep=2).run(SCHEDULE, tokens)
    for row, ids in tokens.items():
        expected = reference_logits(model, ids)
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=TOLERANCE, err_msg=row)


@pytest.mark.parametrize(("name", "feature"), FEATURES)
def test_without_a_feature_the_comparison_would_fail(name: str, feature: str, saved: Saved):
    _, model = saved(name)
    without = reference(CASES[name].without[feature])
    without.load_state_dict(model.state_dict(), strict=False)
    ids = sequences(SIZES["vocab_size"])["whole"]
    difference = np.abs(reference_logits(model, ids) - reference_logits(without, ids)).max()
    assert difference > 100 * TOLERANCE


ELSEWHERE = {"bert", "roberta", "modernbert", "grok1"}
"""Families that are compared in test_encoders.py and test_grok1.py."""


def test_every_family_is_compared(saved: Saved):
    configs = [json.loads((saved(name)[0] / "config.json").read_text()) for name in CASES]
    compared = {FAMILIES[config["architectures"][0]] for config in configs}
    assert compared | ELSEWHERE == {*FAMILIES.values()}


def test_a_step_of_single_tokens_may_say_so(saved: Saved):
    folder, model = saved("llama")
    tokens = sequences(SIZES["vocab_size"])["whole"]
    stepper = Stepper(folder)
    stepper.step([("a", tokens[:11])])
    stepper.step([("b", tokens[:5])])
    rows = [("a", tokens[11:12]), ("b", tokens[5:6])]
    found = stepper.step(rows, only_decode=True)
    expected = reference_logits(model, tokens)
    np.testing.assert_allclose(found["a"], expected[11:12], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found["b"], expected[5:6], rtol=0, atol=TOLERANCE)


def test_dynamic_rope_is_what_transformers_gives_token_by_token(tmp_path: Path):
    """Keys stay as they were written, so a token's rotation is that of its own position."""
    values = {"num_hidden_layers": 1, "max_position_embeddings": 16}
    model = save(LlamaConfig(**SIZES | values | rope("dynamic", factor=2.0)), tmp_path)
    tokens = sequences(SIZES["vocab_size"])["whole"]
    found = Stepper(tmp_path).run(
        [[("whole", 9)], [("whole", 9)], [("whole", 3)]], {"whole": tokens}
    )
    expected = token_by_token(model, tokens)
    np.testing.assert_allclose(found["whole"], expected, rtol=0, atol=TOLERANCE)
    plain = reference(LlamaConfig(**SIZES | values | PLAIN))
    plain.load_state_dict(model.state_dict())
    difference = np.abs(reference_logits(plain, tokens) - expected).max(axis=-1)
    assert difference[:16].max() < TOLERANCE
    assert difference[17:].min() > 10 * TOLERANCE


def test_longrope_takes_the_factors_of_the_length_that_is_served(tmp_path: Path):
    """transformers takes those of the text's own length: of 21 tokens, or of 33."""
    model = save(Phi3Config(**SIZES | variants.longrope(32)), tmp_path)
    tokens = sequences(SIZES["vocab_size"], [[("whole", 33)]])["whole"]
    short, long = (reference_logits(model, tokens[:length])[:21] for length in (21, 33))
    assert np.abs(short - long).max() > 100 * TOLERANCE
    for served, expected in ((None, long), (32, short)):
        stepper = Stepper(tmp_path, context_length=served)
        found = stepper.run([[("whole", 12)], [("whole", 9)]], {"whole": tokens})
        np.testing.assert_allclose(found["whole"], expected, rtol=0, atol=TOLERANCE)


def token_by_token(model: PreTrainedModel, tokens: np.ndarray) -> np.ndarray:
    # transformers 5.24 renamed the argument.
    named = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    kept, logits = {named: DynamicCache(config=model.config)}, []
    with torch.no_grad():
        for token in tokens.tolist():
            out = model(torch.tensor([[token]]), use_cache=True, **kept)
            logits.append(out.logits[0].numpy())
    return np.concatenate(logits)

"""Every family gives transformers' logits, however the tokens are cut into steps."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from tests.models.harness import SCHEDULE, Stepper, reference, reference_logits, save, sequences

pytestmark = pytest.mark.torch

TOLERANCE = 1e-4
SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "head_dim": 16,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A config, and others that lack one of its features: their logits must be different."""

    config: PreTrainedConfig
    without: dict[str, PreTrainedConfig]


def case(cls: Any, values: dict[str, Any], **without: Any) -> Case:
    """`without`: feature -> the values (or the class and values) that lack it."""
    values = SIZES | values
    others = {}
    for feature, change in without.items():
        other, change = change if isinstance(change, tuple) else (cls, change)
        others[feature] = other(**values | change)
    return Case(cls(**values), others)


def rope(kind: str, theta: float = 100.0, **params: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **params}}


PLAIN = rope("default")
LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
MSCALE = rope(
    "yarn",
    factor=4.0,
    original_max_position_embeddings=16,
    mscale=1.5,
    mscale_all_dim=0.5,
    beta_fast=8.0,
    beta_slow=2.0,
    truncate=False,
)
QWEN2 = {
    "num_hidden_layers": 3,
    "use_sliding_window": True,
    "sliding_window": 6,
    "max_window_layers": 1,
}

CASES = {
    "llama": case(
        LlamaConfig,
        PLAIN | {"rms_norm_eps": 0.05},
        theta=rope("default", 1e4),
        eps={"rms_norm_eps": 1e-6},
    ),
    "llama3": case(LlamaConfig, LLAMA3 | {"tie_word_embeddings": True}, scaling=PLAIN),
    "linear": case(
        LlamaConfig, rope("linear", factor=4.0) | {"num_key_value_heads": 4}, scaling=PLAIN
    ),
    "yarn": case(LlamaConfig, YARN | {"num_key_value_heads": 1}, scaling=PLAIN),
    "mscale": case(LlamaConfig, MSCALE | {"num_hidden_layers": 1}, mscale=YARN),
    "biases": case(
        LlamaConfig,
        {"attention_bias": True, "mlp_bias": True},
        attention={"attention_bias": False},
        mlp={"mlp_bias": False},
    ),
    "qwen2": case(
        Qwen2Config,
        QWEN2,
        windows={"use_sliding_window": False},
        first_layer_full={"max_window_layers": 0},
        biases=(LlamaConfig, {}),
    ),
    "qwen3": case(
        Qwen3Config,
        {"attention_bias": True},
        biases={"attention_bias": False},
        qk_norm=(LlamaConfig, {}),
    ),
    "mistral": case(MistralConfig, {"sliding_window": 6}, width={"sliding_window": 7}),
    "nemo": case(
        MistralConfig,
        PLAIN | {"head_dim": 24, "sliding_window": None},
        theta=rope("default", 1e4),
    ),
}
FEATURES = [(name, feature) for name, case in CASES.items() for feature in case.without]

Saved = Callable[[str], tuple[Path, PreTrainedModel]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The checkpoint of a case, and transformers' model of it: made once."""
    folder = tmp_path_factory.mktemp("checkpoints")
    models: dict[str, PreTrainedModel] = {}

    def get(name: str) -> tuple[Path, PreTrainedModel]:
        if name not in models:
            models[name] = save(CASES[name].config, folder / name)
        return folder / name, models[name]

    return get


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers_in_any_cut(name: str, tp: int, saved: Saved):
    folder, model = saved(name)
    tokens = sequences(SIZES["vocab_size"])
    found = Stepper(folder, tp).run(SCHEDULE, tokens)
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


def token_by_token(model: PreTrainedModel, tokens: np.ndarray) -> np.ndarray:
    cache, logits = None, []
    with torch.no_grad():
        for token in tokens.tolist():
            out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logits.append(out.logits[0].numpy())
    return np.concatenate(logits)

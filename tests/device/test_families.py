"""On a GPU: families give transformers' logits through the GPU's own kernels, in float32, and
encoders its hidden states and scores.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_families.py
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="compares with transformers' models")

from tests.models import cases, test_encoders
from tests.models.cases import SIZES, deepseek, encoders
from tests.models.harness import SCHEDULE, Stepper, reference_logits, save, sequences
from tests.models.test_encoders import CLASSIFIERS, EVERY_STATE, scores, states, texts

pytestmark = [pytest.mark.device, pytest.mark.torch]

CASES = {
    name: case
    for name, case in cases.of_generators().items()
    if name.split()[0] in ("llama", "qwen3", "gemma2", "gemma3", "cohere", "cohere2", "stablelm")
    or name in ("olmo2", "mixtral", "gpt_oss", "glm", "starcoder2")
    or name in deepseek.CASES
}
TOLERANCE = 1e-3
"""Sums of float32 come in another order than on a CPU."""


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path):
    case = CASES[name]
    model = save(case.config, tmp_path / "model", case.convert)
    case.publish(tmp_path / "model")
    tokens = sequences(SIZES["vocab_size"])
    found = Stepper(tmp_path / "model", attention="triton").run(SCHEDULE, tokens)
    for row, ids in tokens.items():
        expected = reference_logits(model, ids)
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=TOLERANCE, err_msg=row)


@pytest.mark.parametrize("name", encoders.CASES)
def test_states_of_encoders_are_those_of_transformers(name: str, tmp_path: Path):
    model = test_encoders.save(encoders.CASES[name].config, tmp_path)
    ids = texts()
    stepper = Stepper(tmp_path, attention="triton", pooling=EVERY_STATE)
    found = stepper.step(list(ids.items()))
    for row, tokens in ids.items():
        expected = states(model, tokens)
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=TOLERANCE, err_msg=row)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_of_classifiers_and_rerankers_are_those_of_transformers(name: str, tmp_path: Path):
    config, cls = CLASSIFIERS[name]
    model = test_encoders.save(config, tmp_path, cls)
    ids = texts()
    found = Stepper(tmp_path, attention="triton").step(list(ids.items()))
    for row, tokens in ids.items():
        expected = scores(model, tokens)
        np.testing.assert_allclose(found[row][-1], expected, rtol=0, atol=TOLERANCE, err_msg=row)

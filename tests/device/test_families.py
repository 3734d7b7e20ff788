"""On a GPU: families give transformers' logits through the GPU's own kernels, in float32.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_families.py
"""

import numpy as np
import pytest

pytest.importorskip("torch", reason="compares with transformers' models")

from tests.models.cases import SIZES, deepseek, dense, gemma, llama, moe, variants
from tests.models.harness import SCHEDULE, Stepper, reference_logits, save, sequences

pytestmark = [pytest.mark.device, pytest.mark.torch]

CASES = {
    name: case
    for group in (llama, gemma, variants, dense, moe, deepseek)
    for name, case in group.CASES.items()
    if name.split()[0] in ("llama", "qwen3", "gemma2", "gemma3", "cohere", "cohere2", "stablelm")
    or name in ("olmo2", "mixtral", "gpt_oss", "glm", "starcoder2")
    or group is deepseek
}
TOLERANCE = 1e-3
"""Sums of float32 come in another order than on a CPU."""


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name, tmp_path):
    case = CASES[name]
    model = save(case.config, tmp_path / "model", case.convert)
    case.publish(tmp_path / "model")
    tokens = sequences(SIZES["vocab_size"])
    found = Stepper(tmp_path / "model", attention="triton").run(SCHEDULE, tokens)
    for row, ids in tokens.items():
        expected = reference_logits(model, ids)
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=TOLERANCE, err_msg=row)

"""On a GPU: pages, splits, batches, shared prefixes and the cache change nothing of what comes out.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_decoding.py -s
"""

import json
import random

import pytest

import sgjax
from tests.models.published import MODELS

pytestmark = pytest.mark.device

NUM_NEW = 48
FLOAT32 = {"mean": 1e-4, "max": 2e-3}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """Four layers of the 8B shape in float32, so that rounding hides no mistake."""
    folder = tmp_path_factory.mktemp("four-layers")
    config = MODELS["Llama-3.1-8B"].config | {"num_hidden_layers": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with sgjax.Engine(
        model_path=str(folder),
        load_format="dummy",
        dtype="float32",
        skip_tokenizer_init=True,
        context_length=4096,
        max_total_tokens=2**16,
        max_running_requests=64,
        chunked_prefill_size=1024,
    ) as made:
        yield made


def prompts(count, length, shared=0):
    chance = random.Random(count * length + shared)
    prefix = chance.choices(range(1000, 120000), k=shared)
    return [prefix + chance.choices(range(1000, 120000), k=length) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "length", "shared"), [(1, 700, 0), (5, 33, 0), (40, 300, 0), (40, 40, 512)]
)
def test_decoding_agrees_with_reading_the_same_tokens_as_a_prompt(engine, count, length, shared):
    asked = prompts(count, length, shared)
    params = {"temperature": 0, "max_new_tokens": NUM_NEW, "ignore_eos": True}
    if shared:  # a step that is planned finds what is in the cache
        engine.generate(input_ids=asked[0][:shared], sampling_params=params)
    decoded = engine.generate(input_ids=asked, sampling_params=params, return_logprob=True)
    read = engine.generate(
        input_ids=[p + out["output_ids"] for p, out in zip(asked, decoded, strict=True)],
        sampling_params={"temperature": 0, "max_new_tokens": 0},
        return_logprob=True,
        logprob_start_len=[len(p) - 1 for p in asked],
        cache_salt="apart",
    )
    errors = []
    for one, other in zip(decoded, read, strict=True):
        entries = other["meta_info"]["input_token_logprobs"][-NUM_NEW:]
        pairs = zip(one["meta_info"]["output_token_logprobs"], entries, strict=True)
        errors += [abs(a[0] - b[0]) for a, b in pairs]
    mean, largest = sum(errors) / len(errors), max(errors)
    print(f"{count} prompts: logprobs differ by {mean:.2e} in the mean, {largest:.2e} at most")
    assert mean < FLOAT32["mean"]
    assert largest < FLOAT32["max"]

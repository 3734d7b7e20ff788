"""DeepSeek's families beyond test_parity: steps of decode rows alone, an engine, and what is left
alone in a checkpoint."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sgjax.errors import CheckpointError
from tests.engine.lockstep import Lockstep
from tests.models.cases import SIZES
from tests.models.cases.deepseek import CASES
from tests.models.harness import Stepper, reference_logits, save, sequences

pytestmark = pytest.mark.torch

TOLERANCE = 1e-4
VOCAB = SIZES["vocab_size"]


@pytest.fixture(scope="module")
def v2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deepseek_v2")
    return folder, save(CASES["deepseek_v2"].config, folder)


@pytest.mark.parametrize("tp", [1, 2])
def test_steps_of_single_tokens_may_say_so(tp, v2):
    folder, model = v2
    tokens = sequences(VOCAB)["whole"]
    stepper = Stepper(folder, tp)
    stepper.step([("a", tokens[:11])])
    stepper.step([("b", tokens[:5])])
    found = stepper.step([("a", tokens[11:12]), ("b", tokens[5:6])], only_decode=True)
    expected = reference_logits(model, tokens)
    np.testing.assert_allclose(found["a"], expected[11:12], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found["b"], expected[5:6], rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module", params=[1, 2], ids=["tp 1", "tp 2"])
def engine(request, v2):
    """One whose cache has room for two of three requests at their end, and that expects less."""
    engine = Lockstep(
        model_path=str(v2[0]),
        tp_size=request.param,
        page_size=4,
        max_total_tokens=88,
        max_running_requests=4,
        chunked_prefill_size=16,
        schedule_conservativeness=0.1,
        skip_tokenizer_init=True,
    )
    yield engine
    engine.close()


def check(model, prompt, delta):
    """Every token is the model's best, but for rounding."""
    logits = reference_logits(model, np.array(prompt + delta.token_ids))
    for row, token in zip(logits[len(prompt) - 1 :], delta.token_ids, strict=False):
        assert row.max() - row[token] < TOLERANCE


def test_requests_that_hit_the_tree_get_the_same_tokens(engine, v2):
    prompt = list(range(3, 28))
    for num_cached in (0, 24):
        delta = engine.generate(prompt, max_new_tokens=6, ignore_eos=True)
        assert (len(delta.token_ids), delta.num_cached) == (6, num_cached)
        check(v2[1], prompt, delta)
    engine.flush()


def test_requests_that_were_retracted_go_on_as_if_nothing_had_been(engine, v2):
    engine.forget()
    prompts = {f"{start}": list(range(start, start + 17)) for start in (3, 30, 60)}
    for rid, prompt in prompts.items():
        engine.submit(rid, prompt, max_new_tokens=20, ignore_eos=True)
    engine.finish()
    assert max(engine.deltas[rid].num_retractions for rid in prompts) > 0
    for rid, prompt in prompts.items():
        assert len(engine.deltas[rid].token_ids) == 20
        check(v2[1], prompt, engine.deltas[rid])


@pytest.fixture(scope="module")
def v3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deepseek_v3")
    save(CASES["deepseek_v3, one group"].config, folder)
    return folder


def with_more(folder, name):
    """The checkpoint with this tensor, too."""
    path = folder / "model.safetensors"
    tensors = {key: value for key, value in load_file(path).items() if "eh_proj" not in key}
    save_file(tensors | {name: np.zeros((4, 4), np.float32)}, path, {"format": "pt"})


def test_layers_that_draft_tokens_are_left_alone(v3):
    tokens = np.arange(9)
    expected = Stepper(v3).step([("a", tokens)])["a"]
    with_more(v3, "model.layers.2.eh_proj.weight")
    np.testing.assert_array_equal(Stepper(v3).step([("a", tokens)])["a"], expected)


def test_layers_after_those_are_an_error(v3):
    with_more(v3, "model.layers.3.eh_proj.weight")
    with pytest.raises(CheckpointError, match=r"unknown: model\.layers\.3\.eh_proj\.weight"):
        Stepper(v3)


def test_the_bias_of_an_expert_counts_for_the_choice(v3):
    """transformers' own, which test_parity compares with, has it: else that would prove nothing."""
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert np.abs(load_file(v3 / "model.safetensors")[name]).min() > 0

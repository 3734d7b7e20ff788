"""Estimates of what steps cost."""

import pytest

from sgjax.engine.costs import TOKENS_A_READ, step_cost
from sgjax.models import find_family
from sgjax.models.hf_config import HFConfig
from tests.models.published import LLAMA_3
from tests.models.published_moe import DEEPSEEK, MIXTRAL


def cost(published):
    hf = HFConfig(published)
    return step_cost(find_family(hf.architecture).config(hf))


def test_a_step_of_a_dense_model_reads_what_a_token_is_multiplied_with_and_the_head():
    layers = 32 * (2 * 4096 * (4096 + 1024) + 3 * 4096 * 14336)
    assert cost(LLAMA_3).step == pytest.approx(TOKENS_A_READ * (1 + 128256 * 4096 / layers))


def test_a_step_reads_all_experts_and_a_token_is_multiplied_with_its_own():
    attention, expert = 2 * 4096 * (4096 + 1024), 3 * 4096 * 14336
    read = 32 * (attention + 8 * expert) + 32000 * 4096
    wanted = TOKENS_A_READ * read / (32 * (attention + 2 * expert))
    assert cost(MIXTRAL).step == pytest.approx(wanted)


def test_dense_layers_and_shared_experts_count_too():
    attention = 2 * 2048 * (2048 + 2048)
    dense, expert = 3 * 2048 * 10944, 3 * 2048 * 1408
    read = 28 * attention + dense + 27 * 66 * expert + 102400 * 2048
    multiplied = 28 * attention + dense + 27 * 8 * expert
    assert cost(DEEPSEEK).step == pytest.approx(TOKENS_A_READ * read / multiplied)

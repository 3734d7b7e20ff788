import pytest

from sgjax.bench.forward import Steps, decoding, prompts
from sgjax.config import ServeConfig
from sgjax.engine.setup import prepare
from tests.tiny import TinyLlama


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    folder = TinyLlama().save(tmp_path_factory.mktemp("tiny"))
    options = {"page_size": 4, "max_total_tokens": 400, "chunked_prefill_size": 32}
    config = ServeConfig(model_path=str(folder), max_running_requests=4, **options)
    runner = prepare(config, lambda _: None).runner
    runner.load()
    return Steps(runner)


@pytest.mark.parametrize(
    ("batch", "name"), [(decoding(3, 9), "4 decoding"), (prompts(20), "32 tokens of 4, 32 logits")]
)
def test_a_program_is_compiled_and_run(steps, batch, name):
    bucket, compiled, step, host = steps.measure(batch, "first")
    assert str(bucket) == name
    assert compiled > 0
    assert step >= host > 0


def test_prompts_fill_a_step():
    batch = prompts(8192)
    assert [row.num_tokens for row in batch.rows] == [2048] * 4
    assert [row.num_logits for row in batch.rows] == [1] * 4

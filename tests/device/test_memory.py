"""On a GPU: a step writes its cache in place.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_memory.py -s
"""

import json
import math

import jax
import pytest

from sgjax.config import ServeConfig
from sgjax.engine.buckets import Bucket
from sgjax.engine.setup import prepare
from sgjax.engine.step_programs import describe
from tests.models.published import MODELS

pytestmark = pytest.mark.device


def num_bytes(arrays):
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(arrays))


def test_every_step_of_an_8b_shape_is_given_its_cache(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(MODELS["Llama-3.1-8B"].config))
    options = {"load_format": "dummy", "skip_tokenizer_init": True, "max_total_tokens": 2**17}
    runner = prepare(ServeConfig(model_path=str(tmp_path), **options), lambda _: None).runner
    rows = Bucket(64, 64, 64, only_decode=True)
    largest = runner.serving_keys[0]
    for key in (("forward", rows), largest):
        runner.programs.compile([key], lambda *_: None)
        memory = runner.programs[key].memory_analysis()
        given = num_bytes((runner.state.kv, runner.state.tables))
        print(f"{describe(key)}: {memory.alias_size_in_bytes} bytes aliased of {given}")
        assert memory.alias_size_in_bytes == given
    runner.close(wait=True)

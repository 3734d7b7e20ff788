"""What a step is compiled to: no copies, few words between devices, one block a kind of layer."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sgjax.cache.kv_cache import init_kv, kv_bytes_per_token
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.layers.inputs import StepInputs
from sgjax.models import find_family
from sgjax.models.decoder import build, forward
from sgjax.models.family import ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.sharding.mesh import Placement, make_mesh
from sgjax.sharding.rules import sharding
from tests.models.published import LLAMA_3, QWEN2
from tests.models.published_moe import LLAMA_4, QWEN_MOE

SMALL = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "vocab_size": 1000,
    "head_dim": 32,
}
NUM_SLOTS = 1024
BATCH = 4


def config(published: dict[str, Any], **values: Any) -> ModelConfig:
    hf = HFConfig({**published, **SMALL, **values})
    return find_family(hf.architecture).config(hf)


def step_of(num_tokens: int) -> StepInputs:
    """A step that decodes, or one that takes in prompts and wants a token of each row."""

    def ints(*shape: int) -> jax.Array:
        return jnp.zeros(shape, jnp.int32)

    rows = RaggedRows(ints(BATCH, 8), ints(BATCH), ints(BATCH), ints(BATCH), ints())
    token = ints(num_tokens)
    options = {"page_size": 16, "only_decode": num_tokens == BATCH}
    return StepInputs(token, token, token, rows, ints(BATCH), **options)


def lowered(cfg: ModelConfig, tp: int, num_tokens: int = BATCH) -> tuple[Any, int]:
    """A step, and how many bytes of weights each device has."""
    cfg, mesh = cfg.for_tp(tp), make_mesh(tp)
    family = find_family(cfg.architecture)
    graphdef, state = nnx.split(build(family, cfg, Placement(mesh, "reference")))
    shapes = {
        path: jax.ShapeDtypeStruct(weight.shape, jnp.float32, sharding=sharding(mesh, weight.axes))
        for path, weight in nnx.to_flat_state(state)
    }
    num_bytes = sum(4 * np.prod(x.sharding.shard_shape(x.shape)) for x in shapes.values())
    params = nnx.to_pure_dict(nnx.from_flat_state(shapes))
    kv = init_kv(cfg, NUM_SLOTS, jnp.float32, mesh)
    arrays, tree = jax.tree.flatten((kv, step_of(num_tokens)))

    def step(params: Any, kv: list[jax.Array], inputs: list[jax.Array]) -> Any:
        """Of plain lists: `lower` puts descriptions in the place of arrays, which checks refuse."""
        return forward(graphdef, params, *jax.tree.unflatten(tree, kv + inputs))

    count = 2 * cfg.num_layers
    program = jax.jit(step, donate_argnums=1)
    return program.lower(params, arrays[:count], arrays[count:]), int(num_bytes)


@pytest.mark.parametrize("tp", [1, 2])
def test_no_weight_is_copied_and_the_cache_is_updated_in_place(tp):
    cfg = config(LLAMA_3)
    step, weight_bytes = lowered(cfg, tp)
    memory = step.compile().memory_analysis()
    assert memory.temp_size_in_bytes < weight_bytes / 40
    assert memory.alias_size_in_bytes == kv_bytes_per_token(cfg, jnp.float32) * NUM_SLOTS // tp


def test_devices_speak_twice_a_layer_and_once_for_the_embedding():
    step, _ = lowered(config(LLAMA_3), 2)
    said = re.findall(r" (all-\w+|collective-\w+|reduce-scatter)\(", step.compile().as_text())
    assert said == ["all-reduce"] * (2 * SMALL["num_hidden_layers"] + 1)


@pytest.mark.parametrize(
    ("published", "values", "kinds"),
    [
        (LLAMA_3, {}, 1),
        (QWEN2, {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 2}, 2),
        (LLAMA_4, {"no_rope_layers": [1, 0, 1, 0]}, 2),
        (QWEN_MOE, {"mlp_only_layers": [0, 2]}, 2),
    ],
)
def test_a_block_is_lowered_once_for_each_kind_of_layer(published, values, kinds):
    step, _ = lowered(config(published, **values), 1)
    text = step.as_text()
    assert len(re.findall(r"func.func private @_run_block\w*\(", text)) == kinds
    assert len(re.findall(r"call @_run_block\w*\(", text)) == SMALL["num_hidden_layers"]


@pytest.mark.parametrize("published", [LLAMA_3, QWEN_MOE])
def test_behind_the_last_attention_are_only_the_tokens_that_are_wanted(published):
    num_tokens = 64
    step, _ = lowered(config(published), 1, num_tokens)
    blocks = step.as_text().split("func.func private @")
    of_all = [
        len(re.findall(rf"dot_general.*-> tensor<{num_tokens}x", block))
        for block in blocks
        if block.startswith("_run_block")
    ]
    assert of_all[0] > 3
    assert of_all[1:] == [1], "the last block's queries, keys and values"

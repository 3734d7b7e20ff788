"""A step compiles for H200s, on a machine without a GPU: it writes its cache in place there, and
copies no weight."""

import functools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from flax import nnx, traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.cache.kv_cache import LayerKV
from sgjax.engine.buckets import Bucket
from sgjax.engine.step import CacheShape, forward_layout, unpack_forward
from sgjax.models import decoder, find_family
from sgjax.models.hf_config import HFConfig
from sgjax.sharding.mesh import Placement
from sgjax.sharding.rules import sharding
from tests.absent_gpu import REASON, h200s, no_compilation_cache
from tests.models.published import MODELS

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)

LAYERS = 2
SHAPE = CacheShape(num_pages=20000, page_size=16, num_slots=256, max_pages_per_request=512)


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


def compiled(bucket, mesh):
    """A step of Llama-3.1-8B, two layers of it, bfloat16; and the bytes of its donated state."""
    hf = HFConfig(MODELS["Llama-3.1-8B"].config | {"num_hidden_layers": LAYERS})
    family = find_family(hf.architecture)
    cfg = family.config(hf).for_tp(mesh.size)
    graphdef, state = nnx.split(decoder.build(family, cfg, Placement(mesh, "triton")))
    params = traverse_util.unflatten_dict(
        {
            path: jax.ShapeDtypeStruct(w.shape, jnp.bfloat16, sharding=sharding(mesh, w.axes))
            for path, w in dict(nnx.to_flat_state(state)).items()
        }
    )
    heads = (SHAPE.num_cache_slots, cfg.num_kv_heads, cfg.head_size)
    cache = jax.ShapeDtypeStruct(heads, jnp.bfloat16, sharding=sharding(mesh, "PB K H"))
    whole = NamedSharding(mesh, PartitionSpec())
    ints = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.int32, sharding=whole)

    def step(params, kv, tables, last_tokens, vector):
        inputs, tables = unpack_forward(vector, tables, last_tokens, bucket=bucket, shape=SHAPE)
        return *decoder.forward(graphdef, params, kv, inputs), tables

    tables = ints((SHAPE.num_slots, SHAPE.max_pages_per_request))
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        program = jax.jit(
            step, donate_argnums=(1, 2), out_shardings=(whole, cache.sharding, whole)
        ).trace(
            params,
            [LayerKV(cache, cache)] * LAYERS,
            tables,
            ints((SHAPE.num_slots,)),
            ints((forward_layout(bucket, SHAPE).size,)),
        )
        state_bytes = 2 * LAYERS * math.prod(heads) * 2 // mesh.size + math.prod(tables.shape) * 4
        return program.lower().compile(), state_bytes


def calls(text):
    """The attention kernels that the program launches, and how often."""
    names = ("extend", "decode", "shared")
    lines = [line for line in text.splitlines() if "custom-call(" in line and "triton" in line]
    return Counter(name for line in lines for name in names if f"attention_{name}" in line)


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize(
    ("bucket", "kernels", "max_temp"),
    [
        # Logits are float32 and whole on every device: 64 x 128,256 x 4 bytes.
        (Bucket(64, 64, 64, only_decode=True), {"decode": LAYERS}, 40e6),
        (Bucket(1, 1, 1, only_decode=True), {"decode": LAYERS}, 20e6),
        (
            Bucket(256, 256, 256, only_decode=True, shared=True),
            {"decode": LAYERS, "shared": LAYERS},
            300e6,
        ),
        (Bucket(2048, 32, 32), {"extend": LAYERS, "decode": LAYERS}, 300e6),
    ],
    ids=["64 rows", "1 row", "shared", "mixed"],
)
def test_a_step_writes_its_cache_in_place_and_copies_no_weights(bucket, kernels, max_temp, tp):
    program, state_bytes = compiled(bucket, h200s(tp))
    memory = program.memory_analysis()
    assert memory.alias_size_in_bytes == state_bytes
    assert memory.temp_size_in_bytes < max_temp
    assert calls(program.as_text()) == kernels

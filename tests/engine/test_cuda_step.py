"""A step compiles for H200s, on a machine without a GPU: it writes its cache in place there, and
copies no weight."""

import functools
import math
import os
import pathlib
import re
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from flax import nnx, traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.cache.kv_cache import LayerKV
from sgjax.engine.buckets import Bucket
from sgjax.engine.step import CacheShape, forward_layout, unpack_forward
from sgjax.engine.traces import Traces, Untraced
from sgjax.models import decoder, find_family
from sgjax.models.hf_config import HFConfig
from sgjax.sharding.mesh import Placement
from sgjax.sharding.rules import sharding
from tests.absent_gpu import REASON, h200s, no_compilation_cache
from tests.models.published import MODELS

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)

LAYERS = 2
PLAIN = Traces()
SHAPE = CacheShape(num_pages=20000, page_size=16, num_slots=256, max_pages_per_request=512)


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


def compiled(bucket, mesh, kept=PLAIN):
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
        step = Untraced(
            "step",
            step,
            (
                params,
                [LayerKV(cache, cache)] * LAYERS,
                tables,
                ints((SHAPE.num_slots,)),
                ints((forward_layout(bucket, SHAPE).size,)),
            ),
            donate=(1, 2),
            out_shardings=(whole, cache.sharding, whole),
        )
        program = kept.lower(step)
        state_bytes = 2 * LAYERS * math.prod(heads) * 2 // mesh.size + math.prod(tables.shape) * 4
        return program.compile(), state_bytes


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


@pytest.fixture
def for_cuda(monkeypatch):
    """JAX writes programs for the platform that it runs on, unless told otherwise."""
    monkeypatch.setattr("jax._src.export._export.default_export_platform", lambda: "cuda")


@pytest.mark.parametrize("tp", [1, 2])
def test_a_step_that_was_traced_before_is_compiled_to_the_same(for_cuda, tmp_path, monkeypatch, tp):
    bucket, mesh = Bucket(64, 64, 64, only_decode=True), h200s(tp)
    plain, state_bytes = compiled(bucket, mesh)
    new = Traces(tmp_path, "cuda")
    compiled(bucket, mesh, new)
    new.write()
    monkeypatch.setattr(decoder, "forward", None)
    kept, _ = compiled(bucket, mesh, Traces(tmp_path, "cuda"))
    assert kept.memory_analysis().alias_size_in_bytes == state_bytes
    assert calls(kept.as_text()) == calls(plain.as_text()) != {}
    assert opcodes(kept.as_text()) == opcodes(plain.as_text())


def test_a_process_that_did_not_trace_them_compiles_mosaics_kernels(for_cuda, tmp_path):
    """What they are linked with, JAX says in the process that imports it."""
    new = Traces(tmp_path, "cuda")
    compiled(Bucket(1024, 8, 8), h200s(), new)
    new.write()
    (path,) = tmp_path.iterdir()
    assert b"mosaic_gpu_v2" in path.read_bytes()
    read = f"""
import os, pathlib
from sgjax.cache import kv_cache  # which is written there
from sgjax.engine import traces
assert "MOSAIC_GPU_RUNTIME_LIB_PATH" not in os.environ
assert traces._read(pathlib.Path({str(path)!r})) is not None
print(os.environ["MOSAIC_GPU_RUNTIME_LIB_PATH"])
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOSAIC_GPU")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", read], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    assert pathlib.Path(done.stdout.strip()).is_file()


def opcodes(text):
    """Which operations a program has, and how many of each."""
    return Counter(re.findall(r" ([a-z][a-z-]*)\(", text))

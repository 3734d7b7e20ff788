"""What a process without a GPU traces for H200s is what an engine that has them would have."""

import json
import re
import threading
from collections import Counter

import jax
import jax.numpy as jnp
import msgspec
import pytest

from sgjax.config import ServeConfig
from sgjax.engine import setup, trace_worker
from sgjax.engine.buckets import Bucket
from sgjax.engine.step import CacheShape
from sgjax.engine.step_programs import Model, StepPrograms
from sgjax.engine.traces import Traces, _read
from sgjax.models import read_model_config
from sgjax.sharding.mesh import Placement
from sgjax.weights.load import abstract_model
from tests.absent_gpu import REASON, h200s, no_compilation_cache
from tests.models.published import MODELS

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)

SHAPE = CacheShape(num_pages=20000, page_size=16, num_slots=64, max_pages_per_request=512)
BUCKETS = [
    Bucket(2, 2, 2, only_decode=True),
    Bucket(64, 64, 64, only_decode=True, shared=True),
    Bucket(256, 64, 64),
    Bucket(1024, 8, 8),
]


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


@pytest.fixture
def as_on_gpus(monkeypatch):
    """JAX writes programs for the platform that it runs on, unless told otherwise."""
    monkeypatch.setattr("jax._src.export._export.default_export_platform", lambda: "cuda")
    monkeypatch.setattr(setup.export, "default_export_platform", lambda: "cuda")


@pytest.fixture
def folder(tmp_path):
    """Of Llama-3.1-8B, two layers of it."""
    config = MODELS["Llama-3.1-8B"].config | {"num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def engines_programs(folder, cfg, family, mesh):
    graphdef, params = abstract_model(family, cfg, Placement(mesh), dtype=jnp.bfloat16)
    model = Model.of(cfg, graphdef, params, dtype=jnp.bfloat16, mesh=mesh)
    return StepPrograms(model, SHAPE, BUCKETS, mesh)


def in_words(path):
    """A traced program, but for where in the source it was traced."""
    traced = _read(path)
    module = re.sub(r"loc\(.*\)|#loc.*", "", traced.mlir_module())
    lines = [line for line in module.splitlines() if line]
    return lines, traced.platforms, traced.nr_devices, traced.in_avals, traced.out_avals


def mosaics(lowered):
    """How XLA knows the kernels that Mosaic is to compile."""
    return re.findall(r'kernel_hash = ("[^"]*")', lowered.as_text())


def opcodes(program):
    """Which operations it has, and how many of each."""
    return Counter(re.findall(r" ([a-z][a-z-]*)\(", program.as_text()))


@pytest.mark.parametrize("tp_size", [1, 2])
def test_it_is_traced_and_compiled_to_the_same(as_on_gpus, folder, tp_size):
    family, cfg = read_model_config(folder)
    cfg, mesh = cfg.for_tp(tp_size), h200s(tp_size)
    blueprint = engines_programs(folder, cfg, family, mesh)
    kept = Traces(folder / "kept", "h200")
    own = Traces(folder / "own", "h200")
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        names = [kept.name(program) for program in blueprint.untraced.values()]
    config = ServeConfig(model_path=str(folder), tp_size=tp_size, compile_cache_dir="")
    dtype = jnp.dtype(jnp.bfloat16)
    workers = setup._helpers(config, folder, cfg, dtype, blueprint=blueprint, traces=kept, count=1)
    task = msgspec.structs.replace(workers._task, names=names)
    trace_worker.trace(task, threading.Lock())

    key = ("forward", BUCKETS[0])
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        lowered = {key: own.lower(program) for key, program in blueprint.untraced.items()}
        own.write()
        from_worker = kept.lower(blueprint.untraced[key])
    assert len(names) == len(blueprint.untraced)
    for name in names:
        assert in_words(folder / "kept" / name) == in_words(folder / "own" / name)
    (ahead,), within = (mosaics(lowered[x]) for x in (("product", 0), ("forward", BUCKETS[-1])))
    assert set(within) == {ahead}
    programs = [x.compile() for x in (lowered[key], from_worker)]
    sizes = [x.memory_analysis() for x in programs]
    assert opcodes(programs[0]) == opcodes(programs[1]) != {}
    assert sizes[0].alias_size_in_bytes == sizes[1].alias_size_in_bytes > 0
    assert sizes[0].temp_size_in_bytes == sizes[1].temp_size_in_bytes

"""The kernels that draw tokens compile for an H200, and so does the sampler around them."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.engine import sampler
from sgjax.engine.sample_step import sample_layout
from sgjax.engine.sampler import Variant
from sgjax.kernels_pallas.draw_tokens import Draws, triton
from sgjax.sharding.mesh import Placement
from tests.absent_gpu import REASON, h200s, no_compilation_cache

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)

SLOTS = 512


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


def compiled(op, *shapes, num_devices=1, **options):
    """A program of arrays given as (dtype, sizes), whole on every H200."""
    whole = NamedSharding(h200s(num_devices), PartitionSpec())
    arrays = [jax.ShapeDtypeStruct(sizes, dtype, sharding=whole) for dtype, *sizes in shapes]
    with jax.sharding.use_abstract_mesh(h200s(num_devices).abstract_mesh):
        return jax.jit(op, **options).trace(*arrays).lower().compile()


def launches(program) -> list[str]:
    return re.findall(r'custom-call.*triton.*op_name="[^"]*draw_tokens_(\w+)', program.as_text())


@pytest.mark.parametrize(("R", "V"), [(1, 128256), (256, 151936), (3, 1000)])
def test_tokens_are_drawn_by_two_launches(R, V):
    def op(logits, seen, *fields):
        return triton.draw_tokens(logits, seen, Draws(*fields))

    fields = [(jnp.int32, R)] * 4 + [(jnp.float32, R)] * 6
    program = compiled(op, (jnp.float32, R, V), (jnp.int16, SLOTS, V), *fields)
    assert launches(program) == ["propose", "settle"]


@pytest.mark.parametrize("num_devices", [1, 2])
def test_the_sampler_copies_neither_logits_nor_history(num_devices):
    R, V = 256, 128256
    placement = Placement(h200s(num_devices), "triton")
    program = compiled(
        functools.partial(sampler.sample, variant=Variant.GENERAL, placement=placement),
        (jnp.float32, R, V),
        (jnp.int32, SLOTS),
        (jnp.int16, SLOTS, V),
        (jnp.int32, sample_layout(R).size),
        num_devices=num_devices,
        donate_argnums=(1, 2),
    )
    memory = program.memory_analysis()
    assert memory.alias_size_in_bytes >= SLOTS * V * 2
    assert memory.temp_size_in_bytes < 2**20
    assert launches(program) == ["propose", "settle"]
    assert "all-" not in program.as_text()

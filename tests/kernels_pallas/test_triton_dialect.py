"""Lowering a Triton kernel looks for no module that is not there."""

import sys

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.triton_dialect import announce_triton_dialect
from tests.absent_gpu import REASON, h200s

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)


class Searches:
    """Every module that is looked for."""

    def __init__(self):
        self.names = []

    def find_spec(self, name, path=None, target=None):
        self.names.append(name)


@pytest.fixture
def searches(monkeypatch):
    found = Searches()
    monkeypatch.setattr(sys, "meta_path", [found, *sys.meta_path])
    return found


def lowered():
    """A kernel that handles many pointers, as text."""

    def kernel(x_ref, y_ref):
        at = jnp.arange(16)
        y_ref[...] = plgpu.load(x_ref.at[at]) + plgpu.load(x_ref.at[15 - at])

    shape = jax.ShapeDtypeStruct((16,), jnp.float32)
    params = plgpu.CompilerParams(num_warps=4, num_stages=1)
    call = pl.pallas_call(kernel, out_shape=shape, compiler_params=params)
    with jax.sharding.use_abstract_mesh(h200s().abstract_mesh):
        return jax.jit(call).trace(shape).lower(lowering_platforms=("cuda",)).as_text()


def test_the_dialect_is_searched_for_no_more_and_kernels_stay_the_same(searches):
    before = lowered()
    announce_triton_dialect()
    searches.names.clear()
    jax.clear_caches()
    assert lowered() == before
    assert not [name for name in searches.names if name.endswith(".tt")]

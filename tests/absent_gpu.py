"""An H200 that is not there: programs can be compiled for it all the same.

`h200_target.txtpb` describes the GPU to the compiler: what
`jax._src.lib.xla_client.get_topology_for_devices(jax.devices()).target_config` gave on one with
JAX 0.11, less the fields that JAX 0.10 does not know.
"""

import contextlib
import functools
import pathlib

import jax
import numpy as np
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import AxisType, Mesh

from sgjax.sharding.mesh import MESH_AXES

REASON = (
    "compiling for CUDA needs jax-cuda13-plugin and jax-cuda13-pjrt (no GPU): "
    "pip install --no-deps both, of the version of jax"
)


@functools.cache
def h200s(count: int = 1) -> Mesh:
    """A mesh of so many H200s, with the engine's axes."""
    target = pathlib.Path(__file__).with_name("h200_target.txtpb").read_text()
    devices = topologies.get_topology_desc(
        platform="cuda", target_config=target, topology=f"1x1x{count}"
    ).devices
    types = (AxisType.Auto, AxisType.Auto)
    return Mesh(np.array(devices).reshape(1, count), MESH_AXES, axis_types=types)


@contextlib.contextmanager
def no_compilation_cache():
    """A program for a device that is not there can be kept in the cache, but not read from it."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()

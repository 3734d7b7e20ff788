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
def compiling_for_gpus():
    """With the optimizations that users have, and without the compilation cache: a program for a
    device that is not there can be kept in it, but not read from it."""
    options = {"jax_enable_compilation_cache": False, "jax_disable_most_optimizations": False}
    before = {name: jax.config.values[name] for name in options}
    _set(options)
    try:
        yield
    finally:
        _set(before)


def _set(options: dict[str, bool]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()

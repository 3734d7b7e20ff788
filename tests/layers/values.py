"""Modules are made abstract: this gives them values."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.layers.inputs import StepInputs
from sgjax.sharding.mesh import Placement


def filled(module: nnx.Module, **values: Any) -> nnx.Module:
    """The module with these arrays for its parameters (by dotted path), all others random."""
    graphdef, state = nnx.split(module)
    random = np.random.default_rng(0)
    given = {path.replace("/", "."): value for path, value in values.items()}

    def fill(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> jax.Array:
        name = ".".join(str(key.key) for key in path)
        value = given.pop(name, None)
        return jnp.asarray(random.normal(size=shape.shape) if value is None else value, jnp.float32)

    params = jax.tree_util.tree_map_with_path(fill, nnx.to_pure_dict(state))
    assert not given, f"no such parameters: {list(given)}"
    return nnx.merge(graphdef, params)


def step_of(num_tokens: int, placement: Placement, *, num_padding: int = 0) -> StepInputs:
    """A step of rows with one token each, and padding, for layers that look at no cache."""
    T = num_tokens + num_padding
    at, zero = jnp.arange(T, dtype=jnp.int32), jnp.zeros(T, jnp.int32)
    own = (at < num_tokens).astype(jnp.int32)
    rows = RaggedRows(zero[:, None], at, own, own, jnp.int32(num_tokens))
    return StepInputs(zero, zero, zero, rows, at, page_size=1, only_decode=True, placed=placement)

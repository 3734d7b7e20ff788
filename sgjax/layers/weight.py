"""A parameter before it has values: its shape, its axes, and its named parts."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx


@dataclasses.dataclass(frozen=True)
class Part:
    """A named share of a fused array: [start, stop) of one axis."""

    axis: int
    start: int
    stop: int


class Weight(nnx.Param):
    """A parameter that knows its axes by letter.

    Modules are made abstract: a new Weight holds a shape only. `sgjax/weights` gives it values, and
    with them a dtype: the model's, or the `dtype` that the parameter must always have.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        axes: str,
        parts: Mapping[str, Part] | None = None,
        *,
        dtype: str | None = None,
    ):
        super().__init__(
            jax.ShapeDtypeStruct(shape, jnp.float32),
            axes=axes,
            parts=tuple((parts or {}).items()),
            own_dtype=dtype,
        )

"""Products of a model that are compiled by themselves, ahead of the programs that have them."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from sgjax.layers.einsum import Einsum
from sgjax.models.decoder import Params
from sgjax.sharding.mesh import Placement
from sgjax.sharding.rules import sharding

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function, and its arguments without values."""


def products_apart(graphdef: nnx.GraphDef, params: Params, sizes: Iterable[int]) -> Iterator[Call]:
    """One of each kind, in steps of these numbers of tokens."""
    model = nnx.merge(graphdef, params)
    placement = model.placement
    maps = [(path, map_) for path, map_ in nnx.iter_modules(model) if isinstance(map_, Einsum)]
    kinds = {
        (of.weight.shape, of.weight.axes, of.bias is None, of.activation): (path, of)
        for path, of in maps
    }
    for path, module in kinds.values():
        own: Any = params
        for name in path:
            own = own[name]
        call = functools.partial(_multiply, nnx.graphdef(module), placement)
        of_token = module.weight.shape[: len(module.taken.split())]
        place = sharding(placement.mesh, f"T {module.taken}")
        for num_tokens in sizes:
            if module.compiles_apart(num_tokens, placement):
                shape = num_tokens, *of_token
                x = jax.ShapeDtypeStruct(shape, module.weight.dtype, sharding=place)
                yield call, (own, x)


def _multiply(
    graphdef: nnx.GraphDef, placement: Placement, params: Params, x: Float[Array, "T ..."]
) -> Float[Array, "T ..."]:
    return nnx.merge(graphdef, params)(x, placement)

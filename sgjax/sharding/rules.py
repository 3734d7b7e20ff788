"""Which axes are split over which mesh axes: the only place that knows."""

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sgjax.axes import AXES
from sgjax.sharding.mesh import MESH_AXES

RULES: dict[str, tuple[str, ...]] = {
    "K": MESH_AXES,
    "F": MESH_AXES,
    "V": MESH_AXES,
    "E": MESH_AXES[:1],
    "X": MESH_AXES[1:],
}
"""Axes not named here are whole on every device."""


def mesh_axes(axes: str) -> tuple[str, ...]:
    """The mesh axes that any of these axes is split over."""
    split = [name for word in axes.split() for name in RULES.get(_first_letter(word), ())]
    return tuple(dict.fromkeys(split))


def spec(axes: str) -> PartitionSpec:
    """The partition of an array, given its axes by letter: "D K G H".

    A word of several letters ("PB") is their product and is split as its first letter is; a number
    is an axis of that size without a name.
    """
    return PartitionSpec(*(RULES.get(_first_letter(word)) for word in axes.split()))


def sharding(mesh: Mesh, axes: str) -> NamedSharding:
    """`spec` on a mesh."""
    return NamedSharding(mesh, spec(axes))


def constrain(x: jax.Array, axes: str, mesh: Mesh) -> jax.Array:
    """Tells the compiler how an array inside a program is to be split."""
    return jax.lax.with_sharding_constraint(x, sharding(mesh, axes))


def _first_letter(word: str) -> str:
    if word.isdigit():
        return word
    for letter in word:
        if letter not in AXES:
            raise ValueError(
                f"{letter!r} (in {word!r}) is no axis; sgjax/axes.py has {''.join(AXES)}"
            )
    return word[0]

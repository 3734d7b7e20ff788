"""The mesh: which devices one engine's model is spread over."""

import dataclasses
from collections.abc import Sequence

import jax
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, Mesh

from sgjax.errors import ConfigError

MESH_AXES = ("expert", "tensor")
_AXIS_TYPES = (AxisType.Auto, AxisType.Auto)

AnyMesh = Mesh | AbstractMesh
"""Programs are traced for either: for devices that are there, and such as need not be."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a model runs, and by which kernels."""

    mesh: AnyMesh
    kernels: str | None = None
    """Implementation of the kernels: "reference", "triton", or None for the platform's best."""


def make_mesh(
    tp_size: int, devices: Sequence[jax.Device] | None = None, *, ep_size: int = 1
) -> Mesh:
    """A mesh of `tp_size` devices, the first ones of `devices` (default: all there are).

    Its axes are (expert, tensor), always partitioned automatically: `ep_size` groups of devices
    have experts of their own, and within a group each device has a share of every expert.

    Raises:
        ConfigError: where there are fewer devices, tp_size is below 1, or ep_size does not divide
            it.
    """
    devices = jax.devices() if devices is None else devices
    if tp_size < 1:
        raise ConfigError(f"--tp-size must be at least 1, not {tp_size}.")
    if tp_size > len(devices):
        raise ConfigError(
            f"--tp-size is {tp_size}, but there are {len(devices)} {devices[0].platform} devices. "
            f"Use --tp-size {len(devices)} or fewer."
        )
    if ep_size < 1 or tp_size % ep_size:
        raise ConfigError(
            f"--ep-size {ep_size} must divide --tp-size {tp_size}: so many groups of its devices "
            "have experts of their own."
        )
    return jax.make_mesh(
        (ep_size, tp_size // ep_size),
        MESH_AXES,
        axis_types=_AXIS_TYPES,
        devices=devices[:tp_size],
    )


def mesh_without_devices(tp_size: int, *, ep_size: int = 1) -> AbstractMesh:
    """For sizes of shards alone."""
    return AbstractMesh((ep_size, tp_size // ep_size), MESH_AXES, axis_types=_AXIS_TYPES)


def mesh_of_absent(tp_size: int, device: AbstractDevice, *, ep_size: int = 1) -> AbstractMesh:
    """What programs can be traced for, though nothing can run: devices that need not be there."""
    return AbstractMesh(
        (ep_size, tp_size // ep_size), MESH_AXES, axis_types=_AXIS_TYPES, abstract_device=device
    )

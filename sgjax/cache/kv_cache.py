"""Keys and values on the device: per layer, K and V apart, one array each over all slots."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float

from sgjax.models.family import ModelConfig
from sgjax.sharding.mesh import AnyMesh
from sgjax.sharding.rules import sharding


class LayerKV(NamedTuple):
    """One layer's cache. Slot = page * B + offset; replaced (and donated) by every step."""

    k: Float[Array, "slots K H"]
    v: Float[Array, "slots K H"]


# So that programs that give it can be written to the disk.
export.register_namedtuple_serialization(LayerKV, serialized_name="sgjax.LayerKV")


def abstract_kv(cfg: ModelConfig, num_slots: int, dtype: Any, mesh: AnyMesh) -> list[LayerKV]:
    """What `init_kv` makes, without values."""
    shape = (num_slots, cfg.num_kv_heads, cfg.head_size)
    x: Any = jax.ShapeDtypeStruct(shape, dtype, sharding=sharding(mesh, "PB K H"))
    return [LayerKV(x, x)] * cfg.num_layers


def init_kv(cfg: ModelConfig, num_slots: int, dtype: Any, mesh: AnyMesh) -> list[LayerKV]:
    """An empty cache, made on the devices, which share the heads: `cfg` is `for_tp` of the mesh."""
    return jax.tree.map(empty, abstract_kv(cfg, num_slots, dtype, mesh))


def empty(x: jax.ShapeDtypeStruct) -> jax.Array:
    """An array of zeros, on the devices."""
    return jnp.zeros(x.shape, x.dtype, device=x.sharding)


def kv_bytes_per_token(cfg: ModelConfig, dtype: Any) -> int:
    """Bytes of one token's keys and values, in all layers and on all devices together."""
    return 2 * cfg.num_layers * cfg.num_kv_heads * cfg.head_size * jnp.dtype(dtype).itemsize

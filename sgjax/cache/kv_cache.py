"""Keys and values on the device: per layer, K and V apart, one array each over all slots."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sgjax.models.family import ModelConfig
from sgjax.sharding.rules import sharding


class LayerKV(NamedTuple):
    """One layer's cache. Slot = page * B + offset; replaced (and donated) by every step."""

    k: Float[Array, "slots K H"]
    v: Float[Array, "slots K H"]


# So that programs that give it can be written to the disk.
export.register_namedtuple_serialization(LayerKV, serialized_name="sgjax.LayerKV")


def init_kv(cfg: ModelConfig, num_slots: int, dtype: Any, mesh: Mesh) -> list[LayerKV]:
    """An empty cache, made on the devices, which share the heads: `cfg` is `for_tp` of the mesh."""
    shape = (num_slots, cfg.num_kv_heads, cfg.head_size)
    place = sharding(mesh, "PB K H")

    def empty() -> jax.Array:
        return jnp.zeros(shape, dtype, device=place)

    return [LayerKV(empty(), empty()) for _ in range(cfg.num_layers)]


def kv_bytes_per_token(cfg: ModelConfig, dtype: Any) -> int:
    """Bytes of one token's keys and values, in all layers and on all devices together."""
    return 2 * cfg.num_layers * cfg.num_kv_heads * cfg.head_size * jnp.dtype(dtype).itemsize

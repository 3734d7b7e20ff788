"""What attention keeps of tokens, on the device: one cache a layer, arrays over all slots."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sgjax.models.family import ModelConfig
from sgjax.sharding.rules import sharding


class LayerKV(NamedTuple):
    """Keys and values, apart. Slot = page * B + offset; replaced (and donated) by every step."""

    k: Float[Array, "slots K H"]
    v: Float[Array, "slots K H"]


class LatentKV(NamedTuple):
    """What all heads make their keys and values of: a latent, and the features of keys that turn
    with the position, turned. The same on every device."""

    latents: Float[Array, "slots M"]


LayerCache = LayerKV | LatentKV

# So that programs that give them can be written to the disk.
export.register_namedtuple_serialization(LayerKV, serialized_name="sgjax.LayerKV")
export.register_namedtuple_serialization(LatentKV, serialized_name="sgjax.LatentKV")


def init_kv(cfg: ModelConfig, num_slots: int, dtype: Any, mesh: Mesh) -> list[LayerCache]:
    """An empty cache, made on the devices, which share the heads: `cfg` is `for_tp` of the mesh."""

    def empty(axes: str, *sizes: int) -> jax.Array:
        return jnp.zeros((num_slots, *sizes), dtype, device=sharding(mesh, axes))

    def layer() -> LayerCache:
        if cfg.mla is not None:
            return LatentKV(empty("PB M", cfg.mla.kv_latent + cfg.head_size))
        heads = cfg.num_kv_heads, cfg.head_size
        return LayerKV(empty("PB K H", *heads), empty("PB K H", *heads))

    return [layer() for _ in range(cfg.num_layers)]


def kv_bytes_per_token(cfg: ModelConfig, dtype: Any, *, tp: int = 1) -> int:
    """Bytes that one token takes, in all layers, on each of `tp` devices that share the heads."""
    if cfg.mla is not None:
        numbers = cfg.mla.kv_latent + cfg.head_size
    else:
        numbers = 2 * cfg.num_kv_heads * cfg.head_size // tp
    return cfg.num_layers * numbers * jnp.dtype(dtype).itemsize

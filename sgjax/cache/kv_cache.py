"""What attention keeps of tokens, on the device: one cache a layer, arrays over all slots."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float

from sgjax.models.family import ModelConfig
from sgjax.sharding.mesh import AnyMesh
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


def abstract_kv(cfg: ModelConfig, num_slots: int, dtype: Any, mesh: AnyMesh) -> list[LayerCache]:
    """What `init_kv` makes, without values."""

    def cached(axes: str, *sizes: int) -> Any:
        return jax.ShapeDtypeStruct((num_slots, *sizes), dtype, sharding=sharding(mesh, axes))

    if cfg.mla is not None:
        return [LatentKV(cached("PB M", cfg.mla.kv_latent + cfg.head_size))] * cfg.num_layers
    x = cached("PB K H", cfg.num_kv_heads, cfg.head_size)
    return [LayerKV(x, x)] * cfg.num_layers


def init_kv(cfg: ModelConfig, num_slots: int, dtype: Any, mesh: AnyMesh) -> list[LayerCache]:
    """An empty cache, made on the devices, which share the heads: `cfg` is `for_tp` of the mesh."""
    return jax.tree.map(empty, abstract_kv(cfg, num_slots, dtype, mesh))


def empty(x: jax.ShapeDtypeStruct) -> jax.Array:
    """An array of zeros, on the devices."""
    return jnp.zeros(x.shape, x.dtype, device=x.sharding)


def kv_bytes_per_token(cfg: ModelConfig, dtype: Any, *, tp: int = 1) -> int:
    """Bytes that one token takes, in all layers, on each of `tp` devices that share the heads."""
    if cfg.mla is not None:
        numbers = cfg.mla.kv_latent + cfg.head_size
    else:
        numbers = 2 * cfg.num_kv_heads * cfg.head_size // tp
    return cfg.num_layers * numbers * jnp.dtype(dtype).itemsize

"""Keys and values on the device: per layer, K and V apart, one array each over all slots."""

import dataclasses

import jax
from jaxtyping import Array, Float, Int32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerKV:
    """One layer's cache. Slot = page * B + offset; replaced (and donated) by every step."""

    k: Float[Array, "slots K H"]
    v: Float[Array, "slots K H"]

    def write(
        self,
        k: Float[Array, "T K H"],
        v: Float[Array, "T K H"],
        slots: Int32[Array, "T"],
    ) -> "LayerKV":
        """Puts new keys and values in their slots; a slot past the end (padding) is dropped."""
        return dataclasses.replace(
            self,
            k=self.k.at[slots].set(k.astype(self.k.dtype), mode="drop"),
            v=self.v.at[slots].set(v.astype(self.v.dtype), mode="drop"),
        )

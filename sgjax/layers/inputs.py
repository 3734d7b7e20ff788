"""What a model computes in one step, as arrays on the device."""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Int32

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.sharding.mesh import Placement


@runtime_checkable
class KV(Protocol):
    """One layer's cache as layers see it; `sgjax/cache/kv_cache.py` has it."""

    k: Float[Array, "slots K H"]
    v: Float[Array, "slots K H"]

    def write(
        self, k: Float[Array, "T K H"], v: Float[Array, "T K H"], slots: Int32[Array, "T"]
    ) -> "KV": ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StepInputs:
    """The tokens of a step, all rows end to end, padded to a bucket.

    Padding tokens have position 0, belong to no row, and are written to slot `num_slots`, which the
    cache drops.
    """

    tokens: Int32[Array, "T"]
    positions: Int32[Array, "T"]
    """For RoPE: separate from cache offsets."""
    slots: Int32[Array, "T"]
    """Where each token's keys and values go: page * B + offset."""
    rows: RaggedRows
    logit_rows: Int32[Array, "R"]
    """Which tokens' logits are wanted; padding repeats token 0."""
    page_size: int = dataclasses.field(metadata={"static": True})
    only_decode: bool = dataclasses.field(metadata={"static": True})
    placement: Placement | None = dataclasses.field(default=None, metadata={"static": True})
    """Where the model runs. The model itself fills it in, for its layers."""

"""What a model computes in one step, as arrays on the device."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32, Shaped

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.sharding.mesh import Placement


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
    placed: Placement | None = dataclasses.field(default=None, metadata={"static": True})
    wanted: Int32[Array, "R"] | None = None
    """In the last block, where few tokens are wanted of it: which. Attention takes keys and values
    from all tokens and leaves only these behind it; what comes after it is spared the others."""

    @property
    def is_padding(self) -> Bool[Array, "n"]:
        """Which of the tokens behind attention only pad the step: they come last."""
        is_padding = jnp.arange(self.tokens.shape[0]) >= self.rows.num_tokens.sum()
        return self.of_wanted(is_padding)

    def of_wanted(self, x: Shaped[Array, "T ..."]) -> Shaped[Array, "n ..."]:
        """Of tokens, those behind attention."""
        return x if self.wanted is None else x[self.wanted]

    @property
    def placement(self) -> Placement:
        """Where the model runs: the model itself says so, to its layers."""
        assert self.placed is not None, "layers are called by a model, which places the step"
        return self.placed

"""Token embeddings, and the logits over the vocabulary."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int32

from sgjax.layers.weight import Weight
from sgjax.sharding.rules import RULES, spec


class Embed(nnx.Module):
    """A vector a token; turned around, the language-model head.

    The table has rows beyond the vocabulary where devices could not share it evenly otherwise; no
    token has them, and they give no logits.
    """

    def __init__(self, vocab_size: int, d_model: int, *, padding: int = 0):
        self.vocab_size = vocab_size
        self.table = Weight((vocab_size + padding, d_model), "V D")

    def __call__(self, tokens: Int32[Array, "T"], mesh: Mesh) -> Float[Array, "T D"]:
        """The tokens' rows. Devices look up those they have, and add up.

        (Left to itself, the compiler gathers the whole table on every device for a single token.)
        """
        axes = RULES["V"]

        def look_up(table: Array, tokens: Array) -> Array:
            first = jax.lax.axis_index(axes) * table.shape[0]
            # Negative indices would count from the end: those below `first` go past it instead.
            at = jnp.where(tokens < first, table.shape[0], tokens - first)
            rows = table.at[at].get(mode="fill", fill_value=0)
            return jax.lax.psum(rows, axes)

        specs = (spec("V D"), spec("T"))
        return jax.shard_map(look_up, mesh=mesh, in_specs=specs, out_specs=spec("T D"))(
            self.table[...], tokens
        )

    def logits(self, x: Float[Array, "R D"]) -> Float[Array, "R V"]:
        """x times the table's rows, in float32."""
        table = self.table[...]
        y = jax.lax.dot_general(
            x,
            table,
            (((1,), (1,)), ((), ())),
            precision=jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
            preferred_element_type=jnp.float32,
        )
        return y[:, : self.vocab_size]

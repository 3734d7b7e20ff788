"""Token embeddings, and the logits over the vocabulary."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int32

from sgjax.layers.weight import Weight


class Embed(nnx.Module):
    """A vector a token; turned around, the language-model head.

    The table has rows beyond the vocabulary where devices could not share it evenly otherwise; no
    token has them, and they give no logits.
    """

    def __init__(self, vocab_size: int, d_model: int, *, padding: int = 0):
        self.vocab_size = vocab_size
        self.table = Weight((vocab_size + padding, d_model), "V D")

    def __call__(self, tokens: Int32[Array, "T"]) -> Float[Array, "T D"]:
        return self.table[...].at[tokens].get(mode="promise_in_bounds")

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

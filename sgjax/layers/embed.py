"""Token embeddings, and the logits over the vocabulary."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int32

from sgjax.kernels_pallas.product import normed_product, product
from sgjax.layers.norm import Norm, RMSNorm
from sgjax.layers.weight import Weight
from sgjax.sharding.mesh import AnyMesh, Placement
from sgjax.sharding.rules import RULES, spec


class LearnedVectors(nnx.Module):
    """A learned vector a position, or a type of tokens, on every device."""

    def __init__(self, count: int, d_model: int):
        self.table = Weight((count, d_model), "1 D")

    def __call__(self, at: Int32[Array, "T"]) -> Float[Array, "T D"]:
        return self.table[...][at]


class Embed(nnx.Module):
    """A vector a token; turned around, the language-model head.

    The table has rows beyond the vocabulary where devices could not share it evenly otherwise; no
    token has them, and they give no logits.
    """

    def __init__(self, vocab_size: int, d_model: int, *, padding: int = 0):
        self.vocab_size = vocab_size
        self.table = Weight((vocab_size + padding, d_model), "V D")

    def __call__(self, tokens: Int32[Array, "T"], mesh: AnyMesh) -> Float[Array, "T D"]:
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

    def logits_after(
        self,
        norm: Norm,
        x: Float[Array, "R D"],
        delta: Float[Array, "R D"],
        placement: Placement,
    ) -> Float[Array, "R V"]:
        """The norm of x + delta times the table's rows, in float32."""
        if not isinstance(norm, RMSNorm):
            _, normed = norm.after_add(x, delta, placement)
            return self._logits(normed, placement)
        whole, table = PartitionSpec(), spec("V D")

        def multiply(x: Array, delta: Array, scale: Array, table: Array) -> Array:
            return normed_product(
                x, delta, scale, table,
                eps=norm.eps, form="logits", implementation=placement.kernels,
            )[1]  # fmt: skip

        y = jax.shard_map(
            multiply,
            mesh=placement.mesh,
            in_specs=(whole, whole, whole, table),
            out_specs=spec("R V"),
            check_vma=False,
        )(x, delta, norm.scale[...], self.table[...])
        return y[:, : self.vocab_size]

    def _logits(self, x: Float[Array, "R D"], placement: Placement) -> Float[Array, "R V"]:
        multiply = functools.partial(product, form="logits", implementation=placement.kernels)
        y = jax.shard_map(
            multiply,
            mesh=placement.mesh,
            in_specs=(PartitionSpec(), spec("V D")),
            out_specs=spec("R V"),
            check_vma=False,
        )(x, self.table[...])
        return y[:, : self.vocab_size]

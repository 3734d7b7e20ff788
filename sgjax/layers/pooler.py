"""From the hidden states of a text's tokens to one vector."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int32

from sgjax.kernels_pallas.activations import Activation, activate
from sgjax.kernels_pallas.product import product
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.layers.einsum import Einsum
from sgjax.layers.inputs import StepInputs
from sgjax.layers.norm import Norm
from sgjax.layers.weight import Weight
from sgjax.models.family import ClassifierHead, Pooling
from sgjax.sharding.mesh import Placement

_LEAST_LENGTH = 1e-12
"""What vectors are divided by at least."""


class Pooler(nnx.Module):
    """The last token's state, the first's, or the mean of all; then scores of labels, if the model
    has these, else its direction, if that is wanted. Float32.

    `head_norm` is that of a classifier's head, if it has one.
    """

    def __init__(self, pooling: Pooling, d_model: int, head_norm: Norm):
        self.pooling = pooling
        count, head = len(pooling.labels), pooling.head
        self.score = Weight((count, d_model), "Y D") if count else None
        self.head = Head(head, d_model, head_norm) if count and head else None
        has_bias = count and (head or pooling.is_sglangs)
        self.score_bias = Weight((count,), "Y") if has_bias else None

    def tokens(self, step: StepInputs) -> Int32[Array, "R"] | None:
        """Whose states are taken; None: all tokens'."""
        match self.pooling.of:
            case "mean":
                return None
            case "first":
                return step.rows.starts[_rows_of(step.logit_rows, step.rows)]
        return step.logit_rows

    def __call__(
        self, norm: Norm, x: Float[Array, "n D"], delta: Float[Array, "n D"], step: StepInputs
    ) -> Float[Array, "R W"]:
        """Of the text of each token whose result is wanted. Sums are x + delta, normed, of the
        `tokens` that it takes."""
        placement = step.placement
        pooled = norm.after_add(x, delta, placement)[1].astype(jnp.float32)
        if self.pooling.of == "mean":
            pooled = _means(pooled, step)
        if self.score is not None:
            return self._scores(pooled.astype(x.dtype), self.score, placement)
        if self.pooling.is_normalised:
            length = jnp.sqrt(jnp.sum(jnp.square(pooled), axis=-1, keepdims=True))
            pooled /= jnp.maximum(length, _LEAST_LENGTH)
        return pooled

    def _scores(
        self, x: Float[Array, "R D"], score: Weight, placement: Placement
    ) -> Float[Array, "R Y"]:
        if self.head is not None:
            x = self.head(x, placement)
        scores = product(x, score[...], form="logits", implementation=placement.kernels)
        return scores if self.score_bias is None else scores + self.score_bias[...][None]


class Head(nnx.Module):
    """norm(activation(x · dense))."""

    def __init__(self, head: ClassifierHead, d_model: int, norm: Norm):
        self.dense = Einsum("D -> D", {"D": d_model}, bias=head.has_bias)
        self.activation: Activation = head.activation
        self.norm = norm if head.has_norm else None

    def __call__(self, x: Float[Array, "R D"], placement: Placement) -> Float[Array, "R D"]:
        x = activate(self.dense(x, placement), self.activation)
        return x if self.norm is None else self.norm(x)


def _means(states: Float[Array, "T D"], step: StepInputs) -> Float[Array, "R D"]:
    tokens = jnp.arange(len(states), dtype=jnp.int32)
    owns = _owns(tokens, step.rows).astype(jnp.float32)
    sums = jnp.matmul(owns, states, precision="highest")
    counts = jnp.maximum(step.rows.num_tokens, 1).astype(jnp.float32)
    means = sums / counts[:, None]
    return means[_rows_of(step.logit_rows, step.rows)]


def _rows_of(tokens: Int32[Array, "n"], rows: RaggedRows) -> Int32[Array, "n"]:
    """Which row each token of the step is of."""
    return jnp.argmax(_owns(tokens, rows), axis=0).astype(jnp.int32)


def _owns(tokens: Int32[Array, "n"], rows: RaggedRows) -> Bool[Array, "S n"]:
    since = tokens[None] - rows.starts[:, None]
    return (since >= 0) & (since < rows.num_tokens[:, None])

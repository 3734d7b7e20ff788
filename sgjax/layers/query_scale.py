"""Factors of queries that grow with the position, so that softmax stays sharp over many tokens.

https://arxiv.org/abs/2501.19399
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32


@dataclasses.dataclass(frozen=True)
class QueryScale:
    """A factor that is 1 for the first `interval` - 1 tokens and rises with each interval."""

    interval: int
    strength: float

    def factors(self, positions: Int32[Array, "T"]) -> Float[Array, "T"]:
        """1 + strength * log(1 + whole intervals up to and with the token), in float32."""
        intervals = (positions + 1) // self.interval
        return 1 + self.strength * jnp.log1p(intervals.astype(jnp.float32))

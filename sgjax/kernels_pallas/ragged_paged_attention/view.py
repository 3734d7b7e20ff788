"""What a token sees of its row's cache: asked by the reference and by the kernels alike."""

import dataclasses

import jax.numpy as jnp
from jax import lax


@dataclasses.dataclass(frozen=True)
class View:
    """Where a token's view begins and ends. Tokens further on never see further back."""

    window: int | None = None
    chunk: int | None = None
    is_causal: bool = True

    @property
    def leaves_out(self) -> bool:
        """Whether a long row has tokens that the ones far behind them do not see."""
        return self.window is not None or self.chunk is not None

    def first(self, position):
        """The first position that a token at `position` sees; 0 for the position -1 of none."""
        if self.chunk is not None:
            return lax.div(jnp.maximum(position, 0), self.chunk) * self.chunk
        if self.window is not None:
            return jnp.maximum(position - (self.window - 1), 0)
        return jnp.int32(0)

    def end(self, end, length):
        """Where the view of the tokens before `end` ends, in a row of `length` tokens."""
        if self.is_causal:
            return end
        return length if self.window is None else jnp.minimum(end - 1 + self.window, length)

    def sees(self, at, position, last):
        """Whether tokens at `position` [... M] see those at `at` [... N], none of which they see
        past `last` [...]: [... M N]."""
        at, position = at[None], position[..., None]
        seen = at <= (position if self.is_causal else last[..., None, None])
        if self.leaves_out:
            seen &= at >= self.first(position)
        if self.window is not None and not self.is_causal:
            seen &= at < position + self.window
        return seen


CAUSAL = View()
"""All up to the token itself."""

"""What a request gained, as text and tokens; and all that it gained, put together."""

import dataclasses

from sgjax.engine.messages import Logprobs
from sgjax.engine.request import FinishReason


@dataclasses.dataclass(slots=True)
class Piece:
    """A part of one sample's output. `text` lags `token_ids` while it might become a stop string or
    is half a character; the last piece (with a `finish`) brings the rest."""

    text: str
    token_ids: list[int]
    finish: FinishReason | None = None
    logprobs: Logprobs | None = None
    """Of `token_ids`, one entry each."""
    prompt_logprobs: Logprobs | None = None
    num_cached: int = 0
    num_retractions: int = 0
    num_forced: int = 0
    vector: bytes = b""
    """Of the prompt, if it was pooled: float32."""

    def extend(self, later: "Piece") -> None:
        """Takes in the piece that follows, in place: one that took in all is the whole output."""
        self.text += later.text
        self.token_ids.extend(later.token_ids)
        self.finish = later.finish
        self.logprobs = extended(self.logprobs, later.logprobs)
        self.add_prompt_logprobs(later.prompt_logprobs)
        self.num_cached = max(self.num_cached, later.num_cached)
        self.num_retractions = max(self.num_retractions, later.num_retractions)
        self.num_forced = max(self.num_forced, later.num_forced)
        self.vector = self.vector or later.vector

    def add_prompt_logprobs(self, later: Logprobs | None) -> None:
        self.prompt_logprobs = extended(self.prompt_logprobs, later)


def extended(whole: Logprobs | None, later: Logprobs | None) -> Logprobs | None:
    """Both, end to end; `whole` is changed in place, `later` never."""
    if later is None:
        return whole
    if whole is None:
        return first_entries(later, len(later.tokens))
    whole.tokens.extend(later.tokens)
    whole.logprobs.extend(later.logprobs)
    if whole.top is not None and later.top is not None:
        whole.top.extend(later.top)
    return whole


def first_entries(logprobs: Logprobs, count: int) -> Logprobs:
    """A copy of the first `count` entries: what is left when a stop string cuts the tokens."""
    top = None if logprobs.top is None else logprobs.top[:count]
    return Logprobs(logprobs.tokens[:count], logprobs.logprobs[:count], top)

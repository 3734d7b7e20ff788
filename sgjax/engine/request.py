"""One request as the engine sees it: token ids, and how far along its number line it is.

    prompt_ids ............................ output_ids .......... in flight
    |-------------------------------------|---------------------|- - - - -|
    0                 num_computed ->     num_prompt            num_known  num_tokens

A request owes the tokens from `num_computed` to `num_tokens`: those whose keys and values are
not cached yet. There is no prefill and no decode: many are owed when new, one while decoding, some
after a prefix hit, all again after a retraction. Tokens in flight were sampled by a step whose
results the host has not read yet: their number is known, their ids are on the device.
"""

import dataclasses
from typing import Any

from sgjax.sampling_params import MAX_NEW_TOKENS, SamplingParams

NO_SLOT = -1
"""The slot of a request that does not run."""


@dataclasses.dataclass(eq=False, slots=True)
class Request:
    """A request and its state. The scheduler owns it; nobody else writes to it."""

    rid: str
    prompt_ids: list[int]
    params: SamplingParams
    stop_ids: frozenset[int] = frozenset()
    """Ids that end it: EOS and stop_token_ids, or empty with ignore_eos."""
    max_new_tokens: int = MAX_NEW_TOKENS
    """What params ask for, cut to the context by whoever made the request (never silently)."""
    seed: int = 0
    cache_salt: str = ""
    """Namespace of the prefix cache: requests share pages only with requests of equal salt."""
    return_logprob: bool = False
    logprob_start: int | None = None
    """Prompt logprobs are wanted for tokens after this index; None: for none of the prompt."""
    top_logprobs: int = 0

    # The number line.
    output_ids: list[int] = dataclasses.field(default_factory=list)
    num_computed: int = 0
    num_in_flight: int = 0

    # What it holds: a slot of the device's per-request arrays, and pages of the cache.
    slot: int = NO_SLOT
    pages: list[int] = dataclasses.field(default_factory=list)
    cache_node: Any = None
    """Where it stands in the prefix tree: a handle of PrefixCache, nobody else's business."""
    num_cache_pages: int = 0
    """How many of `pages`, from the first, belong to the tree (locked); the others are its own."""
    cache_key: bytes = b""
    """Its token ids as int32, as far as PrefixCache has needed them."""

    arrival: int = 0
    """Its number in the order of arrival: what clocks would tell, but the same in every run."""
    num_cached: int = 0
    """Prompt tokens that were found in the cache when it was first admitted."""
    num_retractions: int = 0
    num_prompt_logprobs: int = 0
    """Prompt logprobs that were reported: they are not computed again after a retraction."""
    finish_reason: "FinishReason | None" = None

    @property
    def num_prompt(self) -> int:
        return len(self.prompt_ids)

    @property
    def num_known(self) -> int:
        return len(self.prompt_ids) + len(self.output_ids)

    @property
    def num_tokens(self) -> int:
        return self.num_known + self.num_in_flight

    @property
    def num_owed(self) -> int:
        return self.num_tokens - self.num_computed

    @property
    def num_needed(self) -> int:
        """Tokens that are cached if it runs to its end: all but the last output."""
        return len(self.prompt_ids) + max(self.max_new_tokens - 1, 0)

    @property
    def logits_wanted_from(self) -> int | None:
        """The position of the first logits still wanted for a prompt logprob, or None."""
        if self.logprob_start is None:
            return None
        position = self.logprob_start + self.num_prompt_logprobs
        return position if position < len(self.prompt_ids) - 1 else None

    @property
    def hit_limit(self) -> int:
        """How many of its tokens may come from the cache: the last known one must be computed, and
        so must those whose logits are wanted."""
        wanted = self.logits_wanted_from
        return self.num_known - 1 if wanted is None else min(wanted, self.num_known - 1)

    def token_ids(self, start: int, stop: int) -> list[int]:
        """The known tokens [start, stop) of prompt and output together."""
        n = len(self.prompt_ids)
        if stop <= n:
            return self.prompt_ids[start:stop]
        if start >= n:
            return self.output_ids[start - n : stop - n]
        return self.prompt_ids[start:] + self.output_ids[: stop - n]


@dataclasses.dataclass(frozen=True)
class FinishReason:
    """Why a request ended: `type` is "stop" (matched: the token or string), "length" or "abort"."""

    type: str
    matched: int | str | None = None
    length: int | None = None
    message: str | None = None
    """For an abort: what happened. For a failure of the engine too, with `failed` set."""
    failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """SGLang's form, for meta_info."""
        out: dict[str, Any] = {"type": self.type}
        for name in ("matched", "length", "message"):
            value = getattr(self, name)
            if value is not None:
                out[name] = value
        return out

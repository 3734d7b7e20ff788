"""One request as the engine sees it: token ids, and how far along its number line it is.

    tokens: prompt ........................ output .............. in flight
    |-------------------------------------|---------------------|- - - - -|
    0                 num_computed ->     num_prompt            num_known  num_tokens

A request owes the tokens from `num_computed` to `num_tokens`: those whose keys and values are
not cached yet. There is no prefill and no decode: many are owed when new, one while decoding, some
after a prefix hit, all again after a retraction. Tokens in flight were sampled by a step whose
results the host has not read yet: their number is known, their ids are on the device.

With a grammar, the token in flight may not even be drawn: its logits wait on the device for the
mask of what is allowed. What the grammar leaves no choice of is known without: such tokens are
outputs that are owed.
"""

import dataclasses
from array import array
from typing import Any

from sgjax.sampling_params import MAX_NEW_TOKENS, SamplingParams

NO_SLOT = -1
"""The slot of a request that does not run."""


@dataclasses.dataclass(eq=False, slots=True)
class Request:
    """A request and its state. The scheduler owns it; nobody else writes to it."""

    rid: str
    tokens: array
    """Those that are known, int32: the prompt when it is made, then outputs are appended."""
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
    is_streamed: bool = True
    """Whether its tokens are told as they come."""
    is_pooled: bool = False
    """Whether a vector is wanted of its prompt, and no tokens."""
    grammar: Any = None
    """A Matcher that has taken in all known outputs; None: everything may be drawn."""

    # The number line.
    num_prompt: int = dataclasses.field(init=False)
    num_needed: int = dataclasses.field(init=False)
    """Tokens that are cached if it runs to its end: all but the last output."""
    num_computed: int = 0

    # What it holds: a slot of the device's per-request arrays, and pages of the cache.
    slot: int = NO_SLOT
    pages: array = dataclasses.field(default_factory=lambda: array("i"))
    cache_node: Any = None
    """Where it stands in the prefix tree: a handle of PrefixCache, nobody else's business."""
    num_cache_pages: int = 0
    """How many of `pages`, from the first, belong to the tree (locked); the others are its own."""

    arrival: int = 0
    """Its number in the order of arrival: what clocks would tell, but the same in every run."""
    num_cached: int = 0
    """Prompt tokens that were found in the cache when it was first admitted."""
    num_retractions: int = 0
    is_undrawn: bool = False
    """Whether the token in flight is still to be drawn."""
    num_forced: int = 0
    """Outputs that were not drawn, since the grammar left no choice."""
    num_prompt_logprobs: int = 0
    """Prompt logprobs that were reported: they are not computed again after a retraction."""
    finish_reason: "FinishReason | None" = None

    def __post_init__(self) -> None:
        self.num_prompt = len(self.tokens)
        self.num_needed = self.num_prompt + max(self.max_new_tokens - 1, 0)

    @property
    def prompt_ids(self) -> list[int]:
        return self.tokens[: self.num_prompt].tolist()

    @property
    def output_ids(self) -> list[int]:
        return self.tokens[self.num_prompt :].tolist()

    @property
    def num_outputs(self) -> int:
        """How many outputs are known."""
        return len(self.tokens) - self.num_prompt

    @property
    def num_known(self) -> int:
        return len(self.tokens)

    @property
    def num_in_flight(self) -> int:
        """Every token from the last known one on whose computation is planned samples the next."""
        return max(self.num_computed + 1 - len(self.tokens), 0) if self.max_new_tokens else 0

    @property
    def num_tokens(self) -> int:
        return self.num_known + self.num_in_flight

    @property
    def num_owed(self) -> int:
        return self.num_tokens - self.num_computed

    @property
    def logits_wanted_from(self) -> int | None:
        """The position of the first logits still wanted for a prompt logprob, or None."""
        if self.logprob_start is None:
            return None
        position = self.logprob_start + self.num_prompt_logprobs
        return position if position < self.num_prompt - 1 else None

    @property
    def hit_limit(self) -> int:
        """How many of its tokens may come from the cache: the last known one must be computed, and
        so must those whose logits are wanted."""
        wanted = self.logits_wanted_from
        return self.num_known - 1 if wanted is None else min(wanted, self.num_known - 1)


@dataclasses.dataclass(frozen=True)
class FinishReason:
    """Why a request ended: `type` is "stop" (matched: the token or string), "length" or "abort"."""

    type: str
    matched: int | str | None = None
    length: int | None = None
    message: str | None = None
    """For an abort: what happened. For a failure too, with `failed` set."""
    failed: bool = False
    is_own_fault: bool = False
    """Whether the request brought the failure on itself: its grammar is too much work, say."""

    def to_dict(self) -> dict[str, Any]:
        """SGLang's form, for meta_info."""
        out: dict[str, Any] = {"type": self.type}
        for name in ("matched", "length", "message"):
            value = getattr(self, name)
            if value is not None:
                out[name] = value
        return out

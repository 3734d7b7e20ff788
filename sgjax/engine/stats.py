"""What a scheduler counts."""

import dataclasses


@dataclasses.dataclass(slots=True)
class Stats:
    """Counters, which only grow."""

    prompt_tokens: int = 0
    """Of requests that were admitted, each counted once."""
    cached_tokens: int = 0
    """Those of them that were found in the cache."""
    generated_tokens: int = 0
    forced_tokens: int = 0
    """Those of them that were not drawn, since a grammar left no choice."""
    finished_requests: int = 0
    aborted_requests: int = 0
    failed_requests: int = 0
    retractions: int = 0
    page_imbalance: int = 0
    """Times that pages did not add up, and were healed."""

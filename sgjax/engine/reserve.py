"""How much of the cache is kept for tokens that running requests may still make.

To keep all that they ask for would leave most of the cache empty, since most end early; to keep
nothing would retract all the time. So a share is kept: `ratio`, which falls while all goes well and
rises when a request had to give way.
"""

from collections.abc import Collection

from sgjax.engine.request import Request

MAX_EXPECTED = 4096
"""No request is expected to make more tokens than these from now on."""
INITIAL_RATIO = 0.7
MIN_RATIO = 0.1
DECAY = 0.001
MARGIN = 20
"""After a retraction, each request that stays is expected to make at least so many tokens."""


class Reserve:
    """The share of future tokens that is reserved, at most 1; `conservativeness` scales it."""

    def __init__(self, page_size: int, conservativeness: float):
        self._page_size = page_size
        self._lowest = min(MIN_RATIO * conservativeness, 1.0)
        self._initial = max(min(INITIAL_RATIO * conservativeness, 1.0), self._lowest)
        self.ratio = self._initial

    def reset(self) -> None:
        """Nothing runs: begin anew."""
        self.ratio = self._initial

    def decay(self) -> None:
        """A step of decoding went well."""
        self.ratio = max(self.ratio - DECAY, self._lowest)

    def rise(self, staying: Collection[Request]) -> None:
        """Requests were retracted, these stay: reserve at least what their progress suggests."""
        made = sum(request.num_outputs for request in staying) + MARGIN * len(staying)
        asked = sum(min(request.max_new_tokens, MAX_EXPECTED) for request in staying)
        self.ratio = max(self.ratio, min(made / max(asked, 1), 1.0))

    def pages(self, request: Request) -> float:
        """Pages that a request will take from now on: for all its known tokens, and for the
        expected share of the others."""
        owed = -(-request.num_known // self._page_size) - len(request.pages)
        expected = min(max(request.num_needed - request.num_known, 0), MAX_EXPECTED)
        return owed + expected * self.ratio / self._page_size

    def decode_pages(self, decoding: dict[Request, int]) -> float:
        """The same for decoding requests, each with its num_needed: they owe nothing else."""
        expected = 0
        for request, needed in decoding.items():
            expected += min(needed - request.num_computed, MAX_EXPECTED)
        return expected * self.ratio / self._page_size

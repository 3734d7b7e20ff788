"""Decoding requests that begin alike, put next to each other, so that a step reads that part once.

Looking for them takes longer than planning a step. So it is done again only when others decode than
in the step before, and not at all for few rows, whose steps have no program for it.
"""

from typing import NamedTuple

import numpy as np

from sgjax.cache.prefix_groups import PrefixGroup, prefix_groups
from sgjax.engine.request import Request


class Arrangement(NamedTuple):
    """Requests in the order of their rows."""

    requests: list[Request]
    shared: np.ndarray | None = None  # i32[2, rows]
    """The first row of each row's group, and how many of its first tokens the group shares (0: it
    is in none); None: sharing is not worth it."""


class Sharing:
    """Arranges the requests that decode. See the module.

    Args:
        page_size: tokens of a page.
        min_rows: fewer rows are left as they are.
        min_part: sharing is worth it if it spares this part of the cached tokens to be read,
        min_tokens: and so many of them: it costs a kernel more in every layer.
    """

    def __init__(
        self, page_size: int, *, min_rows: int, min_part: float = 0.25, min_tokens: int = 8192
    ):
        self._page_size = page_size
        self._min_rows = min_rows
        self._min_part = min_part
        self._min_tokens = min_tokens
        self._last: list[Request] = []
        self._arrangement = Arrangement([])

    def arrange(self, requests: list[Request]) -> Arrangement:
        """The requests, each with a row of one token in the next step; who shares, side by side."""
        if requests != self._last:
            self._last = requests
            self._arrangement = self._arrange(requests)
        return self._arrangement

    def _arrange(self, requests: list[Request]) -> Arrangement:
        if len(requests) < self._min_rows:
            return Arrangement(requests)
        groups = prefix_groups(requests)
        spared = self._page_size * sum(
            (len(group.members) - 1) * group.num_pages for group in groups
        )
        # A row reads the cached tokens and its new one.
        total = sum(request.num_computed + 1 for request in requests)
        if spared < max(self._min_tokens, self._min_part * total) or not groups:
            return Arrangement(requests)
        return self._in_order(requests, groups)

    def _in_order(self, requests: list[Request], groups: list[PrefixGroup]) -> Arrangement:
        order = [index for group in groups for index in group.members]
        sizes = [len(group.members) for group in groups]
        shared = np.zeros((2, len(requests)), np.int32)
        shared[0, : len(order)] = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
        tokens = [group.num_pages * self._page_size for group in groups]
        shared[1, : len(order)] = np.repeat(tokens, sizes)
        order += sorted(set(range(len(requests))).difference(order))
        return Arrangement([requests[index] for index in order], shared)

"""Who waits, and who comes first."""

import bisect
import random
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from sgjax.cache.prefix_cache import PrefixCache
from sgjax.cache.radix_tree import Node, path_to
from sgjax.engine.request import Request

Policy = Literal["lpm", "fcfs", "random", "dfs-weight"]

MAX_RANKED = 128
"""So many are compared with the tree, the first to arrive; the others come after them."""
MAX_LOCATED = 16
"""So many are looked up in the tree when the line is ranked: new ones, then those of whom it is
longest ago. (A look-up compares thousands of tokens.)"""
MAX_PASSED = 256
"""So often may others go before the one that waits longest; then it is first."""


class WaitingQueue:
    """The requests that wait, in order of arrival. A policy ranks them:

    - "lpm": those with the longest cached prefix first;
    - "dfs-weight": branch by branch of the prefix tree, those with more waiting requests first;
    - "random": by a number drawn at arrival from a seeded generator;
    - "fcfs": as they came (and lpm and dfs-weight too where nothing is cached).
    """

    def __init__(self, policy: Policy, cache: PrefixCache, seed: int):
        by_tree = policy in ("lpm", "dfs-weight")
        self._policy = "fcfs" if by_tree and not cache.enabled else policy
        self._cache = cache
        self._random = random.Random(seed)
        self._requests: list[Request] = []
        self._chance: dict[Request, float] = {}
        # Where the tree agrees with a request, and for how many tokens, when it was looked up last.
        self._located: dict[Request, tuple[Node, int]] = {}
        self._has_unlocated = False
        self._num_passed = 0
        self._num_changes = 0
        self._ranked: list[Request] = []
        self._ranked_at = -1

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def add(self, request: Request) -> None:
        """Puts a request in line, at the place of its arrival (also when it comes back)."""
        bisect.insort(self._requests, request, key=_arrival)
        self._chance[request] = self._random.random()
        self._ranked.append(request)
        self._num_changes += 1

    def remove(self, request: Request) -> None:
        """Takes a request out of the line."""
        del self._requests[bisect.bisect_left(self._requests, request.arrival, key=_arrival)]
        del self._chance[request]
        self._located.pop(request, None)
        self._ranked.remove(request)
        self._num_changes += 1

    def admit(self, request: Request) -> None:
        """Takes out one that runs now, and counts how often the first to arrive was passed."""
        self._num_passed = 0 if self._requests[0] is request else self._num_passed + 1
        self.remove(request)

    def ranked(self) -> list[Request]:
        """All of them, the next first.

        A long line is not ranked anew at each change of it or of the tree, which would cost more
        than a step: only when as many things have changed as an eighth of those that are compared,
        or while some were not looked up yet. Whoever came since then is last.
        """
        if self._policy == "fcfs":
            return list(self._requests)
        changes = self._num_changes + self._cache.tree.version
        window = min(len(self._requests), MAX_RANKED)
        is_old = self._ranked_at < 0 or changes - self._ranked_at > window // 8
        if is_old or self._has_unlocated:
            self._ranked, self._ranked_at = self._rank(), changes
        order = list(self._ranked)
        if self._num_passed >= MAX_PASSED:
            order.remove(self._requests[0])
            order.insert(0, self._requests[0])
        return order

    def _rank(self) -> list[Request]:
        if self._policy == "random":
            return sorted(self._requests, key=self._chance.__getitem__)
        window = self._requests[:MAX_RANKED]
        self._locate(window)
        rank = self._by_prefix if self._policy == "lpm" else self._by_branch
        return rank(window) + self._requests[MAX_RANKED:]

    def _locate(self, window: list[Request]) -> None:
        """Looks some up."""
        new = [request for request in window if request not in self._located]
        for request in [*new, *self._located][:MAX_LOCATED]:
            self._located.pop(request, None)
            self._located[request] = self._cache.locate(request, request.hit_limit)
        self._has_unlocated = len(new) > MAX_LOCATED

    def _place(self, request: Request) -> tuple[Node, int]:
        return self._located.get(request) or (self._cache.tree.root, 0)

    def _by_prefix(self, requests: list[Request]) -> list[Request]:
        return sorted(requests, key=lambda request: self._place(request)[1], reverse=True)

    def _by_branch(self, requests: list[Request]) -> list[Request]:
        paths = {request: path_to(self._place(request)[0]) for request in requests}
        weights = Counter(node for path in paths.values() for node in path)

        def place(request: Request) -> list[tuple[int, int]]:
            # From the root down, heavier children first; whoever ends at a node comes after those
            # who go on below it.
            return [(-weights[node], node.serial) for node in paths[request]] + [(1, 0)]

        return sorted(requests, key=place)


def _arrival(request: Request) -> int:
    return request.arrival

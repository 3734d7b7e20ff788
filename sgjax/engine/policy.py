"""Who waits, and who comes first."""

import bisect
import random
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from sgjax.cache.prefix_cache import PrefixCache
from sgjax.engine.request import Request

Policy = Literal["lpm", "fcfs", "random", "dfs-weight"]

MAX_RANKED = 128
"""So many are compared with the tree, the first to arrive; the others come after them."""
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
        self._ranked.remove(request)
        self._num_changes += 1

    def admit(self, request: Request) -> None:
        """Takes out one that runs now, and counts how often the first to arrive was passed."""
        self._num_passed = 0 if self._requests[0] is request else self._num_passed + 1
        self.remove(request)

    def ranked(self) -> list[Request]:
        """All of them, the next first.

        A long line is not ranked anew at each change of it or of the tree, which would cost more
        than a step: only when as many things have changed as an eighth of those that are compared.
        Whoever came since then is last.
        """
        if self._policy == "fcfs":
            return list(self._requests)
        changes = self._num_changes + self._cache.tree.version
        num_ranked = min(len(self._requests), MAX_RANKED)
        if self._ranked_at < 0 or changes - self._ranked_at > num_ranked // 8:
            self._ranked, self._ranked_at = self._rank(), changes
        order = list(self._ranked)
        if self._num_passed >= MAX_PASSED:
            order.remove(self._requests[0])
            order.insert(0, self._requests[0])
        return order

    def _rank(self) -> list[Request]:
        if self._policy == "random":
            return sorted(self._requests, key=self._chance.__getitem__)
        rank = self._by_prefix if self._policy == "lpm" else self._by_branch
        return rank(self._requests[:MAX_RANKED]) + self._requests[MAX_RANKED:]

    def _by_prefix(self, requests: list[Request]) -> list[Request]:
        def num_found(request: Request) -> int:
            return self._cache.locate(request, request.hit_limit)[1]

        return sorted(requests, key=num_found, reverse=True)

    def _by_branch(self, requests: list[Request]) -> list[Request]:
        root = self._cache.tree.root
        paths = {}
        for request in requests:
            node, _ = self._cache.locate(request, request.hit_limit)
            paths[request] = path = [node]
            while node is not root:
                node = node.parent
                path.append(node)
        weights = Counter(node for path in paths.values() for node in path)

        def place(request: Request) -> list[tuple[int, int]]:
            # From the root down, heavier children first; whoever ends at a node comes after those
            # who go on below it.
            return [(-weights[node], node.serial) for node in reversed(paths[request])] + [(1, 0)]

        return sorted(requests, key=place)


def _arrival(request: Request) -> int:
    return request.arrival

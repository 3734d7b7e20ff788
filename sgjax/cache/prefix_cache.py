"""Pages for requests: from the prefix tree where their tokens are known there, else from the pool.

Every page has one owner: the pool (free), the tree, or one request (private). A request's pages are

    pages[:num_cache_pages]     the tree's, locked by the request     (cache_node: where they end)
    pages[num_cache_pages:]     its own

Pages go into the tree when the step that fills them is planned, not when it is done. In every layer
all tokens of a step are written before any is read, and steps run on the device in the order in
which they were planned, each on the arrays that the one before it left. So whoever finds a page in
the tree, even in the same step, reads it after it was written; and a page that is given back now is
written by its next owner after any step that was planned before and still names it.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from sgjax.cache.pool import PagePool
from sgjax.cache.radix_tree import Node, RadixTree, path_to


class Holder(Protocol):
    """A request, as far as the cache is concerned."""

    cache_salt: str
    tokens: array
    """Those that are known, int32."""
    cache_node: Node | None
    num_cache_pages: int
    pages: array
    """int32."""


class Imbalance(Exception):
    """Pages, owners and locks do not add up: a fault of ours."""


class PrefixCache:
    """The pages of one pool, and the tree of what they hold.

    Args:
        num_pages: pages 0 .. num_pages - 1.
        page_size: tokens of a page.
        enabled: False: nothing is ever shared or kept.
    """

    def __init__(self, num_pages: int, page_size: int, *, enabled: bool = True):
        self.page_size = page_size
        self.enabled = enabled
        self.pool = PagePool(num_pages)
        self.tree = RadixTree(page_size)

    @property
    def num_available(self) -> int:
        """Pages that can be had now: free, or in the tree and used by nobody."""
        return self.pool.num_free + self.tree.num_evictable

    def locate(self, holder: Holder, limit: int) -> tuple[Node, int]:
        """The node of the tree that shares most with the holder's first `limit` tokens, and how
        many tokens that is. Changes nothing."""
        stop = limit // self.page_size if self.enabled else 0
        node, num_pages = self.tree.peek(holder.cache_salt, holder.tokens, stop)
        return node, num_pages * self.page_size

    def extend(self, holder: Holder, limit: int) -> int:
        """Gives the holder, which has no private pages, the pages of the tree that continue its
        own, for at most `limit` tokens from its first on. Returns how many pages that were."""
        start, stop = len(holder.pages), limit // self.page_size
        if not self.enabled or stop <= start:
            return 0
        return self._follow(holder, start, stop)

    def grow(self, holder: Holder, num_pages: int) -> None:
        """Gives the holder private pages, which must be available, up to `num_pages` in all."""
        count = num_pages - len(holder.pages)
        if count > 0:
            holder.pages += self.take(count)

    def take(self, count: int) -> array:
        """Takes pages, which must be available."""
        self.make_free(count)
        return self.pool.take(count)

    def make_free(self, count: int) -> bool:
        """Evicts from the tree until `count` pages are free; whether they are."""
        missing = count - self.pool.num_free
        if missing > 0:
            self.pool.give(self.tree.evict(missing))
        return self.pool.num_free >= count

    def share(self, holder: Holder, num_tokens: int) -> None:
        """Puts the whole pages of the holder's first `num_tokens` tokens (known, and computed by a
        step that is planned) into the tree. They stay private where the tree has such a page from
        another request already: a twin."""
        start, stop = holder.num_cache_pages, num_tokens // self.page_size
        if not self.enabled or stop <= start:
            return
        node = self.tree.append(
            holder.cache_node or self.tree.root,
            holder.cache_salt,
            holder.tokens,
            start=start,
            pages=holder.pages[start:stop],
        )
        if node is not None:
            holder.cache_node, holder.num_cache_pages = node, stop

    def release(self, holder: Holder, num_tokens: int) -> None:
        """Ends what the holder has. Its first `num_tokens` tokens are known and computed: the tree
        keeps their whole pages; all its other pages are free at once."""
        start, stop = holder.num_cache_pages, num_tokens // self.page_size
        if self.enabled and start < stop:
            self._swap_twins(holder, start, stop)
            self.share(holder, num_tokens)
        self._let_go(holder)

    def forget(self, holder: Holder, num_tokens: int) -> None:
        """Ends what the holder has and keeps nothing of it: what it computed may be wrong."""
        self._let_go(holder)
        node, _ = self.locate(holder, num_tokens)
        self.pool.give(self.tree.drop(node))

    def clear(self) -> None:
        """Empties the tree, which nobody may be using."""
        self.pool.give(self.tree.clear())

    def reset(self) -> None:
        """Makes every page free, whoever has it: holders must be made to forget theirs."""
        self.tree.clear()
        self.pool = PagePool(self.pool.num_pages)

    def check(self, holders: Sequence[Holder]) -> None:
        """Checks, slowly, that every page has exactly one owner and every lock a holder.

        Raises:
            Imbalance: with everything that is wrong.
        """
        faults = [*_owner_faults(self, holders), *_lock_faults(self.tree, holders)]
        if faults:
            raise Imbalance("; ".join(faults))

    def _follow(self, holder: Holder, start: int, stop: int) -> int:
        """Moves the holder along the tree, from page `start` to at most `stop`; returns how far.
        The tree's pages replace those that the holder has there, which its caller frees."""
        top = holder.cache_node or self.tree.root
        node, pages = self.tree.follow(
            top, holder.cache_salt, holder.tokens, start=start, stop=stop
        )
        holder.pages[start : start + len(pages)] = pages
        holder.cache_node, holder.num_cache_pages = node, start + len(pages)
        return len(pages)

    def _swap_twins(self, holder: Holder, start: int, stop: int) -> None:
        own = holder.pages[start:stop]
        self.pool.give(own[: self._follow(holder, start, stop)])

    def _let_go(self, holder: Holder) -> None:
        self.pool.give(holder.pages[holder.num_cache_pages :])
        if holder.cache_node is not None:
            self.tree.unlock(holder.cache_node)
        holder.cache_node, holder.num_cache_pages, holder.pages = None, 0, array("i")


def _adds_up(cache: PrefixCache, holders: Sequence[Holder]) -> bool:
    """Whether every page has one owner."""
    claims = [cache.pool.free_pages, *(node.pages for node in cache.tree.nodes())]
    claims += [holder.pages[holder.num_cache_pages :] for holder in holders]
    pages = np.frombuffer(b"".join(claims), np.int32)
    everyone = np.arange(cache.pool.num_pages, dtype=np.int32)
    return len(pages) == len(everyone) and bool((np.sort(pages) == everyone).all())


def _owner_faults(cache: PrefixCache, holders: Sequence[Holder]) -> Iterator[str]:
    if _adds_up(cache, holders):
        return
    claims = [("the pool", page) for page in cache.pool.free_pages]
    claims += [("the tree", page) for node in cache.tree.nodes() for page in node.pages]
    claims += [
        (f"request {number}", page)
        for number, holder in enumerate(holders)
        for page in holder.pages[holder.num_cache_pages :]
    ]
    owners: dict[int, str] = {}
    for owner, page in claims:
        if page in owners:
            yield f"page {page} belongs to {owners[page]} and to {owner}"
        owners[page] = owner
    if lost := set(range(cache.pool.num_pages)) - owners.keys():
        yield f"pages {sorted(lost)} belong to nobody"
    if strange := owners.keys() - set(range(cache.pool.num_pages)):
        yield f"there are no pages {sorted(strange)}"


def _lock_faults(tree: RadixTree, holders: Sequence[Holder]) -> Iterator[str]:
    locks: Counter[Node] = Counter()
    for number, holder in enumerate(holders):
        path = path_to(holder.cache_node) if holder.cache_node else []
        locks.update(path)
        if sum((node.pages for node in path), array("i")) != holder.pages[: holder.num_cache_pages]:
            yield f"request {number} does not have the pages of the node on which it stands"
    nodes = tree.nodes()[1:]
    for node in nodes:
        if node.num_locks != locks.pop(node, 0):
            pages = node.pages.tolist()
            yield f"the node of pages {pages} has {node.num_locks} locks, which is wrong"
    if locks:
        yield "a request stands on a node that is not in the tree"
    if tree.num_pages != sum(len(node.pages) for node in nodes):
        yield f"the tree counts {tree.num_pages} pages, which is wrong"
    if tree.num_evictable != sum(len(node.pages) for node in nodes if not node.num_locks):
        yield f"the tree counts {tree.num_evictable} evictable pages, which is wrong"

"""The prefix tree: which pages of the cache hold the keys and values of which tokens.

    root ─┬─ [the quick brown fox] ─┬─ [jumps over]        an edge is a run of whole pages
          │                         └─ [sleeps]
          └─ [list three countries]

Keys are the tokens themselves, so that no collision can show one request another's cache. An edge
is found by its first page's tokens; at the root also by the namespace. Locks count the requests
that stand on a node or below it.

Nodes that nobody locks stand in one line, in the order in which they were let go, each behind its
children (who locks a child locks the parent, and lets go of the child first). So the first in line
is a leaf, the longest unused, and eviction takes from there: a page costs the same however large
the tree is, and nothing is ever searched or sorted.
"""

from array import array
from collections import OrderedDict
from typing import cast


class Node:
    """A run of whole pages, and the runs that continue it.

    Requests hold nodes by identity: a node's end never moves while it is locked by more than one,
    since a split keeps the node as the lower part.
    """

    __slots__ = ("children", "edge", "key", "num_locks", "pages", "parent", "serial")

    def __init__(self, parent: "Node | None", edge: object, key: array, pages: array, serial: int):
        # The root has none: nobody looks past it, and whoever does had better fail.
        self.parent = cast(Node, parent)
        self.edge = edge
        """Its key in the parent's `children`."""
        self.key = key
        self.pages = pages
        self.children: dict[object, Node] = {}
        self.num_locks = 0
        self.serial = serial


class RadixTree:
    """Whole pages by the tokens they hold. Tokens and pages are arrays of int32 (`array("i")`);
    positions and counts are in pages.

    `num_pages` is all it holds, `num_evictable` those in nodes that nobody locks; `version` grows
    whenever pages are added: a match may be longer then.
    """

    def __init__(self, page_size: int):
        self._page_size = page_size
        self._serial = 0
        self.version = 0
        self._empty()

    def _empty(self) -> None:
        self.root = Node(None, None, array("i"), array("i"), 0)
        self.num_pages = 0
        self.num_evictable = 0
        self._idle: OrderedDict[Node, None] = OrderedDict()

    def peek(self, namespace: str, tokens: array, stop: int) -> tuple[Node, int]:
        """The deepest node that shares pages with the first `stop` pages of `tokens`, and how many
        pages are shared in all. Changes nothing."""
        node, done = self.root, 0
        while done < stop:
            child = node.children.get(self._edge(node, namespace, tokens, done))
            if child is None:
                break
            shared = self._num_shared(child, tokens, done, stop)
            node, done = child, done + shared
            if shared < len(child.pages):
                break
        return node, done

    def follow(
        self, node: Node, namespace: str, tokens: array, *, start: int, stop: int
    ) -> tuple[Node, array]:
        """Walks from `node`, which ends at page `start` of `tokens`, as far as the tree agrees with
        `tokens`, at most to page `stop`; the caller's lock on `node` comes along.

        Returns the node where the walk ends (made by a split where it ended inside an edge) and the
        pages of the walk.
        """
        pages = array("i")
        while start < stop:
            child = node.children.get(self._edge(node, namespace, tokens, start))
            if child is None:
                break
            shared = self._num_shared(child, tokens, start, stop)
            node = child if shared == len(child.pages) else self._split(child, shared)
            self._lock(node)
            pages += node.pages
            start += shared
        return node, pages

    def append(
        self, node: Node, namespace: str, tokens: array, *, start: int, pages: array
    ) -> Node | None:
        """Adds `pages`, which hold the tokens from page `start` on, below `node`, on which the
        caller holds a lock. The lock moves to the node returned, which ends with the last page.

        Returns None, and does nothing, where the tree has a page with the first one's tokens.
        """
        edge = self._edge(node, namespace, tokens, start)
        if edge in node.children:
            return None
        size = self._page_size
        run = tokens[start * size : (start + len(pages)) * size]
        self.version += 1
        self.num_pages += len(pages)
        if not node.children and node.num_locks == 1 and node is not self.root:
            # Nobody else stands here: the node itself grows, so that a prompt computed in many
            # chunks is one edge.
            node.key += run
            node.pages += pages
            return node
        child = self._new(node, edge, run, pages[:])
        child.num_locks = 1
        return child

    def unlock(self, node: Node) -> None:
        """Takes back a lock on `node` and all above it; now is when they were used last."""
        while node is not self.root:
            node.num_locks -= 1
            if node.num_locks == 0:
                self.num_evictable += len(node.pages)
                self._idle[node] = None
            node = node.parent

    def evict(self, count: int) -> array:
        """Drops up to `count` pages that nobody locks, the longest unused first, from the ends of
        their branches. Returns them."""
        freed = array("i")
        while len(freed) < count and self._idle:
            freed += self._trim(next(iter(self._idle)), count - len(freed))
        return freed

    def drop(self, node: Node) -> array:
        """Removes the branch around `node` that nobody locks, from its highest such ancestor down:
        its pages are not to be trusted. Returns them."""
        pages = array("i")
        if node.num_locks or node is self.root:
            return pages
        while node.parent is not self.root and not node.parent.num_locks:
            node = node.parent
        del node.parent.children[node.edge]
        for gone in self.nodes(node):
            del self._idle[gone]
            pages += gone.pages
        self.num_pages -= len(pages)
        self.num_evictable -= len(pages)
        return pages

    def clear(self) -> array:
        """Forgets everything, locks included. Returns all its pages."""
        pages = array("i")
        for node in self.nodes():
            pages += node.pages
        self._empty()
        return pages

    def nodes(self, top: Node | None = None) -> list[Node]:
        """`top` (else the root) and all below it, parents first."""
        found = [top or self.root]
        for node in found:
            found.extend(node.children.values())
        return found

    def _edge(self, node: Node, namespace: str, tokens: array, page: int) -> object:
        size = self._page_size
        first = tokens[page * size : (page + 1) * size].tobytes()
        return (namespace, first) if node is self.root else first

    def _num_shared(self, child: Node, tokens: array, start: int, stop: int) -> int:
        """How many pages of `child`, whose first is shared, are those of `tokens` from `start`."""
        size = self._page_size
        longest = min(len(child.pages), stop - start)

        def agrees(first: int, end: int) -> bool:
            """Whether these pages of the child do."""
            at = start * size
            return (
                child.key[first * size : end * size] == tokens[at + first * size : at + end * size]
            )

        if agrees(0, longest):
            return longest
        low, high = 1, longest  # the first `low` are shared, the first `high` are not
        while high - low > 1:
            middle = (low + high) // 2
            if agrees(low, middle):
                low = middle
            else:
                high = middle
        return low

    def _lock(self, node: Node) -> None:
        if node.num_locks == 0:
            self.num_evictable -= len(node.pages)
            del self._idle[node]
        node.num_locks += 1

    def _split(self, node: Node, count: int) -> Node:
        """Puts the first `count` pages of `node` into a new node above it, and returns that. It is
        to be locked at once: its place in the line of idle nodes is wrong."""
        size = self._page_size
        upper = self._new(node.parent, node.edge, node.key[: count * size], node.pages[:count])
        upper.num_locks = node.num_locks
        if not upper.num_locks:
            self._idle[upper] = None
        del node.key[: count * size]
        del node.pages[:count]
        node.parent, node.edge = upper, node.key[:size].tobytes()
        upper.children[node.edge] = node
        return upper

    def _new(self, parent: Node, edge: object, key: array, pages: array) -> Node:
        self._serial += 1
        node = Node(parent, edge, key, pages, self._serial)
        parent.children[edge] = node
        return node

    def _trim(self, node: Node, count: int) -> array:
        """Takes up to `count` pages from the end of an idle leaf."""
        keep = max(len(node.pages) - count, 0)
        pages = node.pages[keep:]
        self.num_pages -= len(pages)
        self.num_evictable -= len(pages)
        del node.pages[keep:], node.key[keep * self._page_size :]
        if not keep:
            del self._idle[node], node.parent.children[node.edge]
        return pages


def path_to(node: Node) -> list[Node]:
    """The nodes from below the root down to `node`. A node that is in the tree no more has those
    that it had, as far as they were not evicted."""
    path: list[Node] = []
    while node.pages:  # a root, of this tree or a former one, has none
        path.append(node)
        node = node.parent
    return path[::-1]

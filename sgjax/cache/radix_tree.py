"""The prefix tree: which pages of the cache hold the keys and values of which tokens.

    root ─┬─ [the quick brown fox] ─┬─ [jumps over]        an edge is a run of whole pages
          │                         └─ [sleeps]
          └─ [list three countries]

Keys are the tokens themselves (int32, as bytes: comparing two runs is one memcmp), so that no
collision can show one request another's cache. An edge is found by its first page's tokens; at the
root also by the namespace. Locks count the requests that stand on a node or below it; leaves that
nobody locks are evicted, the longest unused first.
"""

import heapq
from typing import cast

TOKEN_BYTES = 4


class Node:
    """A run of whole pages, and the runs that continue it.

    Requests hold nodes by identity: a node's end never moves while it is locked by more than one,
    since a split keeps the node as the lower part.
    """

    __slots__ = (
        "children",
        "edge",
        "key",
        "num_locks",
        "pages",
        "parent",
        "queued",
        "serial",
        "used",
    )

    def __init__(
        self, parent: "Node | None", edge: object, key: bytes, pages: list[int], serial: int
    ):
        # The root has none: nobody looks past it, and whoever does had better fail.
        self.parent = cast(Node, parent)
        self.edge = edge
        """Its key in the parent's `children`."""
        self.key = key
        self.pages = pages
        self.children: dict[object, Node] = {}
        self.num_locks = 0
        self.used = 0
        """The tree's clock when it was matched or let go last."""
        self.queued = False
        """Whether the queue of eviction has an entry of it (perhaps an old one)."""
        self.serial = serial


class RadixTree:
    """Whole pages by the tokens they hold. Positions and counts are in pages.

    `num_pages` is all it holds, `num_evictable` those in nodes that nobody locks; `version` grows
    whenever pages are added: a match may be longer then.
    """

    def __init__(self, page_size: int):
        self._page_bytes = page_size * TOKEN_BYTES
        self._clock = 0
        self._serial = 0
        self.version = 0
        self._empty()

    def _empty(self) -> None:
        self.root = Node(None, None, b"", [], 0)
        self.num_pages = 0
        self.num_evictable = 0
        # (used, serial, node) of leaves that may be evicted: at most one entry a node. Entries may
        # be out of date; whoever pops them looks.
        self._leaves: list[tuple[int, int, Node]] = []

    def peek(self, namespace: str, key: bytes, stop: int) -> tuple[Node, int]:
        """The deepest node that shares pages with the first `stop` pages of `key`, and how many
        pages are shared in all. Changes nothing."""
        node, done = self.root, 0
        while done < stop:
            child = node.children.get(self._edge(node, namespace, key, done))
            if child is None:
                break
            shared = self._num_shared(child, key, done, stop)
            node, done = child, done + shared
            if shared < len(child.pages):
                break
        return node, done

    def match(
        self, node: Node, namespace: str, key: bytes, *, start: int, stop: int
    ) -> tuple[Node, list[int]]:
        """Walks from `node`, which ends at page `start` of `key`, as far as the tree agrees with
        `key`, at most to page `stop`.

        Returns the node where the walk ends (made by a split where it ended inside an edge) and the
        pages of the walk.
        """
        self._clock += 1
        pages: list[int] = []
        while start < stop:
            child = node.children.get(self._edge(node, namespace, key, start))
            if child is None:
                break
            shared = self._num_shared(child, key, start, stop)
            node = child if shared == len(child.pages) else self._split(child, shared)
            node.used = self._clock
            pages += node.pages
            start += shared
        return node, pages

    def append(
        self, node: Node, namespace: str, key: bytes, *, start: int, pages: list[int]
    ) -> Node | None:
        """Adds `pages`, which hold the tokens from page `start` of `key` on, below `node`, on which
        the caller holds a lock. The lock moves to the node returned, which ends with the last page.

        Returns None, and does nothing, where the tree has a page with the first one's tokens.
        """
        edge = self._edge(node, namespace, key, start)
        if edge in node.children:
            return None
        width = self._page_bytes
        run = key[start * width : (start + len(pages)) * width]
        self.version += 1
        self.num_pages += len(pages)
        if not node.children and node.num_locks == 1 and node is not self.root:
            # Nobody else stands here: the node itself grows, so that a prompt computed in many
            # chunks is one edge.
            node.key += run
            node.pages.extend(pages)
            return node
        child = self._new(node, edge, run, list(pages))
        child.num_locks = 1
        child.used = self._clock
        return child

    def lock(self, node: Node, *, above: Node) -> None:
        """Locks the nodes from `node` up to its ancestor `above`, which is locked already."""
        while node is not above:
            if node.num_locks == 0:
                self.num_evictable -= len(node.pages)
            node.num_locks += 1
            node = node.parent

    def unlock(self, node: Node) -> None:
        """Takes back a lock on `node` and all above it; now is when they were used last."""
        self._clock += 1
        while node is not self.root:
            node.num_locks -= 1
            node.used = self._clock
            if node.num_locks == 0:
                self.num_evictable += len(node.pages)
                self._offer(node)
            node = node.parent

    def evict(self, count: int) -> list[int]:
        """Drops up to `count` pages that nobody locks, the longest unused first, from the ends of
        their branches. Returns them."""
        freed: list[int] = []
        while len(freed) < count and self._leaves:
            used, _, node = self._leaves[0]
            if node.num_locks or node.children:
                heapq.heappop(self._leaves)
                node.queued = False
            elif used < node.used:
                heapq.heapreplace(self._leaves, (node.used, node.serial, node))
            else:
                freed += self._trim(node, count - len(freed))
        return freed

    def drop(self, node: Node) -> list[int]:
        """Removes the branch around `node` that nobody locks, from its highest such ancestor down:
        its pages are not to be trusted. Returns them."""
        if node.num_locks or node is self.root:
            return []
        while node.parent is not self.root and not node.parent.num_locks:
            node = node.parent
        gone = self.nodes(node)
        del node.parent.children[node.edge]
        pages = [page for each in gone for page in each.pages]
        self.num_pages -= len(pages)
        self.num_evictable -= len(pages)
        dropped = set(gone)
        self._leaves = [entry for entry in self._leaves if entry[2] not in dropped]
        heapq.heapify(self._leaves)
        return pages

    def clear(self) -> list[int]:
        """Forgets everything, locks included. Returns all its pages."""
        pages = [page for node in self.nodes() for page in node.pages]
        self._empty()
        return pages

    def nodes(self, top: Node | None = None) -> list[Node]:
        """`top` (else the root) and all below it, parents first."""
        found = [top or self.root]
        for node in found:
            found.extend(node.children.values())
        return found

    def _edge(self, node: Node, namespace: str, key: bytes, page: int) -> object:
        width = self._page_bytes
        first = key[page * width : (page + 1) * width]
        return (namespace, first) if node is self.root else first

    def _num_shared(self, child: Node, key: bytes, start: int, stop: int) -> int:
        """How many pages of `child`, whose first is shared, are those of `key` from `start` on."""
        width = self._page_bytes
        offset = start * width
        longest = min(len(child.pages), stop - start)
        if key.startswith(child.key[: longest * width], offset):
            return longest
        low, high = 1, longest  # the first `low` are shared, the first `high` are not
        while high - low > 1:
            middle = (low + high) // 2
            if key.startswith(child.key[low * width : middle * width], offset + low * width):
                low = middle
            else:
                high = middle
        return low

    def _split(self, node: Node, count: int) -> Node:
        """Puts the first `count` pages of `node` into a new node above it, and returns that."""
        width = self._page_bytes
        upper = self._new(node.parent, node.edge, node.key[: count * width], node.pages[:count])
        upper.num_locks = node.num_locks
        node.key = node.key[count * width :]
        del node.pages[:count]
        node.parent, node.edge = upper, node.key[:width]
        upper.children[node.edge] = node
        return upper

    def _new(self, parent: Node, edge: object, key: bytes, pages: list[int]) -> Node:
        self._serial += 1
        node = Node(parent, edge, key, pages, self._serial)
        parent.children[edge] = node
        return node

    def _offer(self, node: Node) -> None:
        """Queues a leaf that nobody locks for eviction."""
        if not node.children and not node.queued:
            node.queued = True
            heapq.heappush(self._leaves, (node.used, node.serial, node))

    def _trim(self, node: Node, count: int) -> list[int]:
        """Takes up to `count` pages from the end of the leaf at the front of the queue."""
        keep = max(len(node.pages) - count, 0)
        pages = node.pages[keep:]
        self.num_pages -= len(pages)
        self.num_evictable -= len(pages)
        if keep:
            del node.pages[keep:]
            node.key = node.key[: keep * self._page_bytes]
            return pages
        heapq.heappop(self._leaves)
        del node.parent.children[node.edge]
        parent = node.parent
        if parent is not self.root and not parent.num_locks:
            self._offer(parent)
        return pages

"""Which requests begin alike in the prefix tree, so that a step can read that part once for all.

Each request could stand with all those below any of the nodes on its way to the root:

    root ── [a b c d] ─┬─ [e f] ─┬─ 1       1 and 2 may share a .. f, or a .. d with 3 and 4.
                       │         └─ 2
                       ├─ 3
                       └─ 4

It takes the node that spares it most: n requests below a node of depth d read d / n pages each.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sgjax.cache.prefix_cache import Holder
from sgjax.cache.radix_tree import Node


class PrefixGroup(NamedTuple):
    """Two holders or more whose first `num_pages` pages are the same pages of the tree."""

    members: list[int]
    """Their indices."""
    num_pages: int


class _Choice(NamedTuple):
    """A node to share up to, its depth, and the pages that each request is spared by it."""

    node: Node | None
    num_pages: int
    spared: float


_NONE = _Choice(None, 0, 0.0)


def prefix_groups(holders: Iterable[Holder]) -> list[PrefixGroup]:
    """The holders in groups that share pages, in the order of their first members; whoever shares
    nothing is in none. Takes time in proportion to the nodes on which the holders stand."""
    choices: dict[Node, _Choice] = {}
    groups: dict[Node, PrefixGroup] = {}
    for index, holder in enumerate(holders):
        node = holder.cache_node
        if node is None:
            continue
        choice = choices.get(node) or _choose(node, holder.num_cache_pages, choices)
        if choice.node is None:
            continue
        if choice.node not in groups:
            groups[choice.node] = PrefixGroup([], choice.num_pages)
        groups[choice.node].members.append(index)
    return [group for group in groups.values() if len(group.members) > 1]


def _choose(node: Node, depth: int, choices: dict[Node, _Choice]) -> _Choice:
    """The choice of whoever stands on `node`, which ends at page `depth`; kept for all nodes of the
    way up, since others may come by."""
    way: list[tuple[Node, int]] = []
    while node not in choices and node.pages:  # a root has none
        way.append((node, depth))
        depth -= len(node.pages)
        node = node.parent
    choice = choices.get(node, _NONE)
    for node, depth in reversed(way):
        # Its locks are its holders, some of whom may not be among those asked for: an estimate.
        spared = depth - depth / node.num_locks
        if spared > 0 and spared >= choice.spared:
            choice = _Choice(node, depth, spared)
        choices[node] = choice
    return choice

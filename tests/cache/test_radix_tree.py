"""The tree, told as stories, and against a model: a dict from prefixes of tokens to pages."""

import dataclasses
from array import array

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sgjax.cache.radix_tree import Node, RadixTree


def ints(values) -> array:
    return array("i", values)


def insert(tree: RadixTree, tokens: list[int], pages: list[int], namespace: str = "") -> Node:
    """Adds what the tree does not have of the tokens, and returns the node, locked."""
    stop = len(pages)
    node, found = tree.follow(tree.root, namespace, ints(tokens), start=0, stop=stop)
    if len(found) < stop:
        new = ints(pages[len(found) :])
        node = tree.append(node, namespace, ints(tokens), start=len(found), pages=new)
    return node


def find(tree: RadixTree, tokens: list[int], namespace: str = "") -> list[int]:
    """The pages of the tokens, for as long as it takes to look."""
    node, pages = tree.follow(tree.root, namespace, ints(tokens), start=0, stop=len(tokens))
    tree.unlock(node)
    return pages.tolist()


def test_a_prompt_finds_the_pages_of_the_longest_shared_prefix():
    tree = RadixTree(1)
    insert(tree, [1, 2, 3, 4], [10, 11, 12, 13])
    insert(tree, [1, 2, 7], [10, 11, 20])
    assert find(tree, [1, 2, 3, 9]) == [10, 11, 12]
    assert find(tree, [1, 2, 7, 8]) == [10, 11, 20]
    assert find(tree, [5]) == []


def test_half_a_page_is_not_shared():
    tree = RadixTree(4)
    insert(tree, [1, 2, 3, 4, 5, 6, 7, 8], [0, 1])
    assert tree.peek("", ints([1, 2, 3, 4, 5, 6, 7, 9]), 2)[1] == 1
    assert tree.peek("", ints([1, 2, 3, 9, 5, 6, 7, 8]), 2)[1] == 0


def test_equal_tokens_of_another_namespace_are_not_found():
    tree = RadixTree(1)
    insert(tree, [1, 2], [0, 1], namespace="a")
    assert find(tree, [1, 2], namespace="b") == []
    insert(tree, [1, 2], [2, 3], namespace="b")
    assert find(tree, [1, 2], namespace="a") == [0, 1]
    assert find(tree, [1, 2], namespace="b") == [2, 3]


def test_a_prompt_that_comes_in_chunks_is_one_edge():
    tree = RadixTree(1)
    node = insert(tree, [1, 2], [0, 1])
    for page in range(2, 6):
        again = tree.append(node, "", ints([1, 2, 3, 4, 5, 6]), start=page, pages=ints([page]))
        assert again is node
    assert find(tree, [1, 2, 3, 4, 5, 6]) == [0, 1, 2, 3, 4, 5]
    assert len(tree.nodes()) == 2


def test_a_node_on_which_two_stand_does_not_grow():
    tree = RadixTree(1)
    first = insert(tree, [1], [0])
    second = insert(tree, [1], [0])
    assert second is first
    below = tree.append(first, "", ints([1, 2]), start=1, pages=ints([1]))
    assert below is not first
    assert second.pages.tolist() == [0]


def test_a_page_that_the_tree_has_is_not_added_again():
    tree = RadixTree(1)
    node = insert(tree, [1, 2], [0, 1])
    assert tree.append(tree.root, "", ints([1, 3]), start=0, pages=ints([7, 8])) is None
    assert tree.num_pages == 2
    tree.unlock(node)
    assert tree.num_evictable == 2


def test_a_split_keeps_whoever_stands_below_where_they_are():
    tree = RadixTree(1)
    node = insert(tree, [1, 2, 3, 4], [0, 1, 2, 3])
    upper, pages = tree.follow(tree.root, "", ints([1, 2]), start=0, stop=2)
    assert (upper.pages, node.pages, pages) == (ints([0, 1]), ints([2, 3]), ints([0, 1]))
    assert node.parent is upper and (upper.num_locks, node.num_locks) == (2, 1)
    tree.unlock(node)
    tree.unlock(upper)
    assert tree.num_evictable == tree.num_pages == 4


def test_the_longest_unused_is_evicted_first_and_from_its_end():
    tree = RadixTree(1)
    for tokens, pages in ([1, 2, 3], [0, 1, 2]), ([1, 5], [0, 4]), ([6, 7], [5, 6]):
        tree.unlock(insert(tree, tokens, pages))
    find(tree, [1, 2, 3])
    assert tree.evict(1).tolist() == [4]  # [1, 5] was used least lately
    assert tree.evict(1).tolist() == [6]
    assert tree.evict(2).tolist() == [5, 2]
    assert tree.evict(9).tolist() == [0, 1] or tree.num_pages == 0


def test_what_is_locked_stays_and_its_parents_too():
    tree = RadixTree(1)
    insert(tree, [1, 2], [0, 1])
    tree.unlock(insert(tree, [1, 3], [0, 2]))
    assert tree.num_evictable == 1
    assert tree.evict(5).tolist() == [2]
    assert find(tree, [1, 2]) == [0, 1]


def test_a_dropped_branch_goes_with_all_that_stands_on_it():
    tree = RadixTree(1)
    tree.unlock(insert(tree, [1, 2, 3], [0, 1, 2]))
    tree.unlock(insert(tree, [1, 2, 4], [0, 1, 3]))
    insert(tree, [1], [0])
    node, _ = tree.peek("", ints([1, 2, 4]), 3)
    assert sorted(tree.drop(node)) == [1, 2, 3]
    assert find(tree, [1, 2, 3]) == [0]
    assert (tree.num_pages, tree.num_evictable) == (1, 0)
    assert tree.evict(3).tolist() == []


def test_what_is_locked_is_not_in_the_line_of_eviction():
    tree = RadixTree(1)
    for token in range(1000):
        tree.unlock(insert(tree, [token], [token]))
    held = [insert(tree, [token], [token]) for token in range(900)]
    assert len(tree._idle) == 100
    assert tree.evict(1).tolist() == [900]
    for node in held:
        tree.unlock(node)
    assert tree.evict(100).tolist() == [*range(901, 1000), 0]


@dataclasses.dataclass
class Holder:
    """Somebody who stands on a node, with the tokens that they would add below it."""

    node: Node
    namespace: str
    tokens: tuple[int, ...]
    depth: int


PAGE = 2
tokens = st.lists(st.integers(0, 1), min_size=PAGE, max_size=6 * PAGE).map(
    lambda tokens: tuple(tokens[: len(tokens) // PAGE * PAGE])
)
namespaces = st.sampled_from(["", "salt"])
picks = st.integers(0, 1000)


class TreeAndModel(RuleBasedStateMachine):
    """The model: for every whole page, (namespace, tokens up to its end) -> page, locks, stamp."""

    def __init__(self):
        super().__init__()
        self.tree = RadixTree(PAGE)
        self.pages: dict[tuple, int] = {}
        self.stamps: dict[tuple, int] = {}
        self.holders: list[Holder] = []
        self.num_made = 0
        self.clock = 0

    def path(self, namespace, tokens, depth):
        return [(namespace, tokens[: i * PAGE]) for i in range(1, depth + 1)]

    def found(self, namespace, tokens):
        """The prefixes of `tokens` that the model has."""
        path = self.path(namespace, tokens, len(tokens) // PAGE)
        missing = [i for i, prefix in enumerate(path) if prefix not in self.pages]
        return path[: missing[0]] if missing else path

    def locked(self):
        return {
            prefix
            for holder in self.holders
            for prefix in self.path(holder.namespace, holder.tokens, holder.depth)
        }

    def touch(self, path):
        self.clock += 1
        self.stamps.update(dict.fromkeys(path, self.clock))

    def leaves(self):
        inner = {(namespace, tokens[:-PAGE]) for namespace, tokens in self.pages}
        return self.pages.keys() - inner - self.locked()

    @rule(namespace=namespaces, tokens=tokens)
    def peek(self, namespace, tokens):
        _, count = self.tree.peek(namespace, ints(tokens), len(tokens) // PAGE)
        assert count == len(self.found(namespace, tokens))

    @rule(namespace=namespaces, tokens=tokens)
    def hold(self, namespace, tokens):
        tree, stop = self.tree, len(tokens) // PAGE
        node, pages = tree.follow(tree.root, namespace, ints(tokens), start=0, stop=stop)
        path = self.found(namespace, tokens)
        assert pages.tolist() == [self.pages[prefix] for prefix in path]
        self.touch(path)
        self.holders.append(Holder(node, namespace, tokens, len(path)))

    @precondition(lambda self: self.holders)
    @rule(pick=picks, most=st.integers(1, 4))
    def follow(self, pick, most):
        """A holder goes on to pages that others have added below it."""
        holder, tree = self.holders[pick % len(self.holders)], self.tree
        stop = min(len(holder.tokens) // PAGE, holder.depth + most)
        node, pages = tree.follow(
            holder.node, holder.namespace, ints(holder.tokens), start=holder.depth, stop=stop
        )
        path = self.found(holder.namespace, holder.tokens)[holder.depth : stop]
        assert pages.tolist() == [self.pages[prefix] for prefix in path]
        self.touch(path)
        holder.node, holder.depth = node, holder.depth + len(path)

    @precondition(lambda self: self.holders)
    @rule(pick=picks, most=st.integers(1, 4))
    def append(self, pick, most):
        holder = self.holders[pick % len(self.holders)]
        stop = min(len(holder.tokens) // PAGE, holder.depth + most)
        path = self.path(holder.namespace, holder.tokens, stop)[holder.depth :]
        if not path:
            return
        new = ints(range(self.num_made, self.num_made + len(path)))
        self.num_made += len(path)
        node = self.tree.append(
            holder.node, holder.namespace, ints(holder.tokens), start=holder.depth, pages=new
        )
        assert (node is None) == (path[0] in self.pages)
        if node is not None:
            self.pages.update(zip(path, new, strict=True))
            self.touch(path)
            holder.node, holder.depth = node, stop

    @precondition(lambda self: self.holders)
    @rule(pick=picks)
    def let_go(self, pick):
        holder = self.holders.pop(pick % len(self.holders))
        self.tree.unlock(holder.node)
        self.touch(self.path(holder.namespace, holder.tokens, holder.depth))

    @rule(count=st.integers(1, 8))
    def evict(self, count):
        expected = min(count, len(self.pages.keys() - self.locked()))
        evicted = set(self.tree.evict(count))
        assert len(evicted) == expected
        while evicted:  # each was a leaf that nobody held, and none had been unused for longer
            leaves = self.leaves()
            oldest = min(self.stamps[leaf] for leaf in leaves)
            gone = [
                leaf
                for leaf in leaves
                if self.stamps[leaf] == oldest and self.pages[leaf] in evicted
            ]
            assert gone
            evicted.remove(self.pages.pop(gone[0]))

    @rule(namespace=namespaces, tokens=tokens)
    def drop(self, namespace, tokens):
        node, _ = self.tree.peek(namespace, ints(tokens), len(tokens) // PAGE)
        path = self.found(namespace, tokens)
        locked = self.locked()
        dropped = set(self.tree.drop(node))
        gone = {prefix for prefix, page in self.pages.items() if page in dropped}
        assert not gone & locked
        assert all(prefix in gone or prefix in locked for prefix in path)
        for prefix in gone:
            del self.pages[prefix]

    @invariant()
    def counts_are_right(self):
        assert self.tree.num_pages == len(self.pages)
        assert self.tree.num_evictable == len(self.pages.keys() - self.locked())

    @invariant()
    def pages_are_the_models(self):
        nodes = self.tree.nodes()[1:]
        assert sorted(p for node in nodes for p in node.pages) == sorted(self.pages.values())
        assert all(len(node.key) == len(node.pages) * PAGE for node in nodes)
        assert all(node.parent.children[node.edge] is node for node in nodes)

    @invariant()
    def whoever_nobody_holds_stands_in_line_behind_their_children(self):
        line = list(self.tree._idle)
        assert set(line) == {node for node in self.tree.nodes()[1:] if not node.num_locks}
        places = {node: place for place, node in enumerate(line)}
        for node in line:
            assert all(places[child] < places[node] for child in node.children.values())


TestTreeAndModel = TreeAndModel.TestCase
TestTreeAndModel.settings = settings(stateful_step_count=40)

"""Pages for requests: whose they are, from the first to the last."""

import dataclasses
from array import array
from typing import Any

import pytest

from sgjax.cache.prefix_cache import Imbalance, PrefixCache

PAGE = 4


@dataclasses.dataclass(eq=False)
class Holder:
    tokens: array
    cache_salt: str = ""
    cache_node: Any = None
    num_cache_pages: int = 0
    pages: array = dataclasses.field(default_factory=lambda: array("i"))


def compute(cache: PrefixCache, holder: Holder, num_tokens: int) -> None:
    """What a step does for a request: pages for its tokens, and its whole pages to the tree."""
    cache.grow(holder, -(-num_tokens // PAGE))
    cache.share(holder, num_tokens)


def admit(cache: PrefixCache, tokens: list[int], **fields) -> Holder:
    holder = Holder(array("i", tokens), **fields)
    cache.extend(holder, len(tokens) - 1)
    return holder


def test_whole_pages_go_to_the_tree_and_the_rest_stays_private():
    cache = PrefixCache(8, PAGE)
    holder = admit(cache, list(range(10)))
    compute(cache, holder, 10)
    assert (len(holder.pages), holder.num_cache_pages, cache.tree.num_pages) == (3, 2, 2)
    cache.check([holder])
    assert cache.num_available == 5


def test_another_request_shares_them_at_once():
    cache = PrefixCache(8, PAGE)
    first = admit(cache, list(range(10)))
    compute(cache, first, 10)
    second = admit(cache, list(range(10)))
    assert second.pages == first.pages[:2]
    cache.release(first, 10)
    cache.check([second])
    assert cache.num_available == 6  # the second still holds two


@pytest.mark.parametrize(("count", "hit"), [(3, 0), (4, 0), (5, 1), (8, 1), (9, 2)])
def test_a_hit_is_of_whole_pages_and_leaves_a_token_to_compute(count, hit):
    cache = PrefixCache(8, PAGE)
    holder = admit(cache, list(range(count)))
    compute(cache, holder, count)
    cache.release(holder, count)
    assert len(admit(cache, list(range(count))).pages) == hit


def test_a_page_that_was_computed_twice_is_kept_once():
    cache = PrefixCache(8, PAGE)
    first, twin = admit(cache, list(range(9))), admit(cache, list(range(9)))
    compute(cache, first, 9)
    compute(cache, twin, 9)
    assert twin.num_cache_pages == 0  # its pages are its own: the tree has the other's
    cache.check([first, twin])
    cache.release(twin, 9)
    cache.release(first, 9)
    cache.check([])
    assert (cache.tree.num_pages, cache.pool.num_free) == (2, 6)


def test_what_follows_a_twin_goes_to_the_tree_when_its_request_ends():
    cache = PrefixCache(16, PAGE)
    first, twin = admit(cache, list(range(8))), admit(cache, [*range(8), *range(50, 59)])
    compute(cache, first, 8)
    compute(cache, twin, 17)
    cache.release(twin, 17)
    cache.check([first])
    assert len(admit(cache, [*range(8), *range(50, 59)]).pages) == 4


def test_tokens_that_are_not_computed_are_not_kept():
    cache = PrefixCache(8, PAGE)
    holder = admit(cache, list(range(12)))
    cache.grow(holder, 3)
    cache.release(holder, 7)
    assert cache.tree.num_pages == 1


def test_pages_are_evicted_when_the_pool_is_empty():
    cache = PrefixCache(4, PAGE)
    for start in (0, 100):
        holder = admit(cache, list(range(start, start + 8)))
        compute(cache, holder, 8)
        cache.release(holder, 8)
    assert (cache.pool.num_free, cache.num_available) == (0, 4)
    holder = admit(cache, list(range(200, 212)))
    compute(cache, holder, 12)
    cache.check([holder])
    assert len(admit(cache, list(range(9))).pages) == 0
    assert len(admit(cache, list(range(100, 109))).pages) == 1  # the last used went last


def test_pages_in_use_are_not_evicted():
    cache = PrefixCache(2, PAGE)
    holder = admit(cache, list(range(8)))
    compute(cache, holder, 8)
    assert not cache.make_free(1)
    with pytest.raises(ValueError, match="only 0 are free"):
        cache.take(1)


def test_a_request_goes_on_from_pages_that_another_has_added_behind_its_own():
    cache = PrefixCache(8, PAGE)
    slow, fast = admit(cache, list(range(17))), admit(cache, list(range(17)))
    compute(cache, slow, 4)
    assert cache.extend(fast, 16) == 1
    compute(cache, fast, 17)
    assert cache.extend(slow, 16) == 3
    assert slow.pages == fast.pages[:4]
    cache.check([slow, fast])


def test_what_may_be_wrong_is_forgotten_with_all_that_rests_on_it():
    cache = PrefixCache(16, PAGE)
    good = admit(cache, list(range(5)))
    compute(cache, good, 5)
    bad = admit(cache, list(range(13)))
    compute(cache, bad, 13)
    follower = admit(cache, [*range(12), *range(50, 56)])
    compute(cache, follower, 18)
    cache.release(follower, 18)
    cache.forget(bad, 13)
    cache.check([good])
    assert len(admit(cache, [*range(12), *range(50, 56)]).pages) == 1  # the good one's


def test_namespaces_are_apart():
    cache = PrefixCache(8, PAGE)
    holder = admit(cache, list(range(9)), cache_salt="a")
    compute(cache, holder, 9)
    assert not admit(cache, list(range(9)), cache_salt="b").pages
    assert admit(cache, list(range(9)), cache_salt="a").pages == holder.pages[:2]


def test_a_cache_that_is_off_neither_shares_nor_keeps():
    cache = PrefixCache(8, PAGE, enabled=False)
    holder = admit(cache, list(range(9)))
    compute(cache, holder, 9)
    assert not admit(cache, list(range(9))).pages
    assert cache.locate(holder, 9)[1] == 0
    cache.check([holder])
    cache.release(holder, 9)
    assert cache.pool.num_free == 8


def test_looking_changes_nothing():
    cache = PrefixCache(8, PAGE)
    holder = admit(cache, list(range(12)))
    compute(cache, holder, 12)
    cache.release(holder, 12)
    version = cache.tree.version
    assert cache.locate(Holder(array("i", [*range(8), 99, 99, 99, 99])), 12)[1] == 8
    assert (cache.tree.version, len(cache.tree.nodes())) == (version, 2)


def test_a_request_that_grew_leaves_all_it_has():
    cache = PrefixCache(8, PAGE)
    holder = admit(cache, list(range(6)))
    compute(cache, holder, 6)
    holder.tokens.extend([6, 7, 8])
    compute(cache, holder, 8)
    cache.release(holder, 8)
    assert len(admit(cache, list(range(9))).pages) == 2


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda cache, holder: cache.pool.take(1), "belong to nobody"),
        (lambda cache, holder: cache.pool.give(holder.pages[2:]), "belongs to the pool and to req"),
        (lambda cache, holder: cache.pool.give(holder.pages[:1]), "belongs to the pool and to the"),
        (lambda cache, holder: setattr(holder.cache_node, "num_locks", 7), "has 7 locks"),
        (lambda cache, holder: holder.pages.reverse(), "does not have the pages of the node"),
        (lambda cache, holder: holder.pages.append(99), r"there are no pages \[99\]"),
        (lambda cache, holder: setattr(cache.tree, "num_pages", 7), "counts 7 pages"),
        (lambda cache, holder: setattr(cache.tree, "num_evictable", 7), "counts 7 evictable"),
        (lambda cache, holder: cache.tree.clear(), "a node that is not in the tree"),
    ],
)
def test_the_check_sees_what_is_wrong(harm, said):
    cache = PrefixCache(8, PAGE)
    holder = admit(cache, list(range(10)))
    compute(cache, holder, 10)
    cache.check([holder])
    harm(cache, holder)
    with pytest.raises(Imbalance, match=said):
        cache.check([holder])


def test_a_reset_makes_every_page_free():
    cache = PrefixCache(8, PAGE)
    holder = admit(cache, list(range(10)))
    compute(cache, holder, 10)
    cache.reset()
    cache.check([])
    assert cache.pool.num_free == 8

"""Groups of requests that begin with the same pages of the prefix tree."""

from hypothesis import given
from hypothesis import strategies as st

from sgjax.cache.prefix_cache import PrefixCache
from sgjax.cache.prefix_groups import prefix_groups
from tests.cache.test_prefix_cache import PAGE, Holder, admit, compute


def holders(*prompts: list[int], salts: str = "") -> list[Holder]:
    """Requests of one cache that have computed their prompts, one after the other."""
    cache = PrefixCache(1000, PAGE)
    made = []
    for prompt, salt in zip(prompts, salts or " " * len(prompts), strict=True):
        made.append(admit(cache, prompt, cache_salt=salt))
        compute(cache, made[-1], len(prompt))
    cache.check(made)
    return made


def pages(count: int, first: int) -> list[int]:
    """The tokens of so many pages, which no other `first` has."""
    return [first * 1000 + i for i in range(count * PAGE)]


def test_requests_share_all_whole_pages_that_they_have_in_common():
    trunk = pages(3, 1)
    found = prefix_groups(holders([*trunk, 1], [*trunk, 2, 2], pages(2, 5), [*trunk, 3]))
    assert found == [([0, 1, 3], 3)]


def test_samples_of_one_prompt_share_it_but_for_its_last_page():
    prompt = [*pages(2, 1), 7]
    assert prefix_groups(holders(prompt, prompt, prompt)) == [([0, 1, 2], 2)]
    whole = pages(2, 1)  # the last token must be computed, so the last page is each one's own
    assert prefix_groups(holders(whole, whole, whole)) == [([0, 1, 2], 1)]


def test_branches_of_many_are_shared_rather_than_the_trunk_of_all():
    trunk = pages(4, 1)
    branches = [[*trunk, *pages(2, 2 + i // 4), i] for i in range(8)]
    assert prefix_groups(holders(*branches)) == [([0, 1, 2, 3], 6), ([4, 5, 6, 7], 6)]


def test_a_long_trunk_of_all_is_shared_rather_than_branches_of_two():
    trunk = pages(8, 1)
    branches = [[*trunk, *pages(1, 2 + i // 2), i] for i in range(8)]
    assert prefix_groups(holders(*branches)) == [(list(range(8)), 8)]


def test_who_is_left_alone_on_a_trunk_is_in_no_group():
    trunk = pages(2, 1)
    branches = [[*trunk, *pages(2, 2), i] for i in range(3)]
    assert prefix_groups(holders([*trunk, 9], *branches)) == [([1, 2, 3], 4)]


def test_namespaces_share_nothing():
    prompt = [*pages(2, 1), 7]
    assert prefix_groups(holders(prompt, prompt, prompt, salts="xyx")) == [([0, 2], 2)]


def test_who_has_no_page_in_the_tree_shares_nothing():
    assert prefix_groups(holders([1, 2], [1, 2], [1, 2, 3])) == []
    assert prefix_groups([]) == []


prompts = st.lists(
    st.lists(st.integers(0, 2), max_size=4).map(
        lambda runs: [token for run in runs for token in pages(2, run)] + [9]
    ),
    max_size=12,
)


@given(prompts=prompts)
def test_groups_share_their_first_pages_and_nobody_is_in_two(prompts):
    made = holders(*prompts)
    seen: list[int] = []
    found = prefix_groups(made)
    assert [members[0] for members, _ in found] == sorted(members[0] for members, _ in found)
    for members, num_pages in found:
        assert len(members) > 1 and num_pages > 0
        assert len({tuple(made[index].pages[:num_pages]) for index in members}) == 1
        assert num_pages <= min(made[index].num_cache_pages for index in members)
        seen += members
    assert len(seen) == len(set(seen))

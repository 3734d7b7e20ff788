"""Which rows of a decode step are put together, and when it is worth it."""

from sgjax.cache.prefix_cache import PrefixCache
from sgjax.engine import sharing
from sgjax.engine.request import Request
from sgjax.engine.sharing import Sharing
from tests.engine.paged_device import make_request

PAGE = 4
TRUNK = list(range(100, 116))


def decoding(*prompts: list[int]) -> list[Request]:
    """Requests that have computed their prompts."""
    cache = PrefixCache(1000, PAGE)
    requests = [make_request(str(i), prompt) for i, prompt in enumerate(prompts)]
    for request in requests:
        cache.extend(request, request.hit_limit)
        cache.grow(request, -(-request.num_prompt // PAGE))
        cache.share(request, request.num_prompt)
        request.num_computed = request.num_prompt
    return requests


def names(arrangement) -> str:
    return "".join(request.rid for request in arrangement.requests)


def test_groups_come_first_and_side_by_side_and_others_behind():
    other = [7] * 9
    requests = decoding([*TRUNK, 1], [5], other, [*TRUNK, 2], [6], [*other, 3])
    found = Sharing(PAGE, min_rows=1, min_part=0, min_tokens=0).arrange(requests)
    assert names(found) == "032514"
    assert found.shared.tolist() == [[0, 0, 2, 2, 0, 0], [16, 16, 8, 8, 0, 0]]


def test_few_rows_are_left_as_they_are():
    requests = decoding([*TRUNK, 1], [5], [*TRUNK, 2])
    found = Sharing(PAGE, min_rows=4, min_part=0, min_tokens=0).arrange(requests)
    assert found == (requests, None)


def test_sharing_must_spare_enough_tokens_and_enough_of_all():
    # Three rows of 18 tokens each with the new one: 16 of two of them are spared.
    requests = decoding(*([*TRUNK, i] for i in range(3)))
    assert Sharing(PAGE, min_rows=1, min_part=0, min_tokens=32).arrange(requests).shared is not None
    assert Sharing(PAGE, min_rows=1, min_part=0, min_tokens=33).arrange(requests).shared is None
    enough, too_much = 32 / 54, 33 / 54
    for part, is_worth_it in ((enough, True), (too_much, False)):
        found = Sharing(PAGE, min_rows=1, min_part=part, min_tokens=0).arrange(requests)
        assert (found.shared is not None) == is_worth_it


def test_groups_are_looked_for_only_when_others_decode(monkeypatch):
    looked = []

    def spy(requests):
        looked.append(len(requests))
        return []

    monkeypatch.setattr(sharing, "prefix_groups", spy)
    requests = decoding(*([*TRUNK, i] for i in range(4)))
    arranging = Sharing(PAGE, min_rows=2)
    for _ in range(3):
        arranging.arrange(list(requests))
    assert looked == [4]
    arranging.arrange(requests[:3])
    arranging.arrange(requests[1:])
    arranging.arrange(requests[:1])
    arranging.arrange(requests)
    assert looked == [4, 3, 3, 4]

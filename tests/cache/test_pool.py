from array import array

import pytest

from sgjax.cache.pool import PagePool


def test_every_page_is_given_out_once():
    pool = PagePool(5)
    assert sorted(pool.take(2) + pool.take(3)) == [0, 1, 2, 3, 4]
    assert pool.num_free == 0


def test_the_page_that_came_back_last_goes_first():
    pool = PagePool(4)
    first, second = pool.take(2)
    pool.give(array("i", [second, first]))
    assert pool.take(1).tolist() == [first]


def test_more_than_are_free_cannot_be_taken_and_none_is_lost():
    pool = PagePool(3)
    pool.take(1)
    with pytest.raises(ValueError, match="3 pages were asked for, but only 2 are free"):
        pool.take(3)
    assert pool.num_free == 2


@pytest.mark.parametrize("taken", [0, 2])
def test_a_page_cannot_come_back_twice(taken):
    pool = PagePool(3)
    pages = pool.take(taken)
    pool.give(pages)
    with pytest.raises(ValueError, match="page 0 was given back, but it is free already"):
        pool.give(array("i", [0]))
    assert pool.num_free == 3


def test_a_page_cannot_come_back_twice_at_once():
    pool = PagePool(3)
    pages = pool.take(2)
    with pytest.raises(ValueError, match="page 1 was given back, but it is free already"):
        pool.give(array("i", [pages[1], *pages]))

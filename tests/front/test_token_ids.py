from array import array

import pytest

from sgjax.errors import InvalidRequest
from sgjax.front.token_ids import extremes, int32, read_ids, typed


def test_ids_are_brought_to_int32_once():
    ids = int32([5, 0, 2**31 - 1])
    assert ids == array("i", [5, 0, 2**31 - 1])
    assert int32(ids) is ids
    assert extremes(ids) == (0, 2**31 - 1)


@pytest.mark.parametrize("ids", [[1.0], [True], ["a"], [None], [2**31], [-(2**31) - 1], "ab", (1,)])
def test_what_is_no_list_of_int32_is_seen(ids):
    assert int32(ids) is None


@pytest.mark.parametrize("token", [-1, 9, 2**31, -(2**40)])
def test_an_id_that_the_model_lacks_is_named(token):
    with pytest.raises(InvalidRequest, match=f"Token id {token} is not in .* 0 to 8"):
        read_ids([3, token, 5], 9)


def test_the_ends_of_the_vocabulary_are_in_it():
    assert read_ids([0, 8], 9) == array("i", [0, 8])


def test_a_token_carries_its_type_where_the_model_has_several():
    ids, types = array("i", [5, 0, 9]), [0, 1, 1]
    assert typed(ids, types, vocab_size=10, num_types=2).tolist() == [5, 10, 19]
    assert typed(ids, types, vocab_size=10, num_types=1) is ids
    with pytest.raises(InvalidRequest, match="a token type 2, but this model has 2"):
        typed(ids, [0, 1, 2], vocab_size=10, num_types=2)

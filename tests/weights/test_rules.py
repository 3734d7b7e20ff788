import ml_dtypes
import numpy as np
import pytest

from sgjax.weights.rules import Rearrangement, Source, sources

SIZES = {"e": 3, "d": 6, "k": 4, "kv": 2, "r": 2, "g": 3, "h": 2, "f": 5, "v": 7}


def whole(rule: Rearrangement) -> list[tuple[int, int]]:
    return [(0, size) for size in rule.given_shape(SIZES)]


def read_from(tensor: np.ndarray):
    return lambda slices: tensor[slices].copy()


@pytest.mark.parametrize(
    ("text", "letters", "shape"),
    [
        ("d -> d", "d->d", (6,)),
        ("f d -> d f", "fd->df", (5, 6)),
        ("(k g h) d -> d k g h", "kghd->dkgh", (4, 3, 2, 6)),
        ("d (k g h) -> k g h d", "dkgh->kghd", (6, 4, 3, 2)),
        ("(e f) d -> e d f", "efd->edf", (3, 5, 6)),
        ("1 d -> d", "ad->d", (1, 6)),
    ],
)
def test_a_rearrangement_moves_axes_as_einsum_does(text, letters, shape):
    rule = Rearrangement.parse(text)
    tensor = np.arange(np.prod(shape)).reshape(rule.tensor_shape(SIZES))
    expected = np.einsum(letters, tensor.reshape(shape))
    found = rule.read(read_from(tensor), tuple(whole(rule)), SIZES)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "text",
    [
        "(k g h) d -> d k g h",
        "(kv h) d -> d k 1 h",
        "(kv h) -> k 1 h",
        "[(k g h)*|(kv h)|(kv h)] d -> d k g h",
        "[(k g h)|(kv h)|(kv h)*] d -> d k 1 h",
        "(kv [(r g)*|1|1] h) d -> d (kv r) g h",
        "(kv [(r g)|1*|1] h) d -> d k 1 h",
    ],
)
def test_spans_read_what_the_whole_has_there(text):
    rule = Rearrangement.parse(text)
    shape = rule.tensor_shape(SIZES)
    tensor = np.arange(np.prod(shape)).reshape(shape)
    expected = rule.read(read_from(tensor), tuple(whole(rule)), SIZES)
    axis = next(i for i, product in enumerate(rule.given) if {"k", "kv"} & {*product})
    for start in range(4):
        for stop in range(start + 1, 5):
            spans = whole(rule)
            spans[axis] = (start, stop)
            found = rule.read(read_from(tensor), tuple(spans), SIZES)
            np.testing.assert_array_equal(found, expected.take(range(start, stop), axis))


def test_kv_heads_are_repeated_next_to_each_other():
    rule = Rearrangement.parse("(kv h) -> k 1 h")
    found = rule.read(read_from(np.arange(4)), ((0, 4), (0, 1), (0, 2)), SIZES)
    assert found[:, 0].tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]


def test_things_that_lie_end_to_end_are_told_apart():
    tensor = np.arange(10)
    parts = [Rearrangement.parse(text) for text in ("[f*|f] -> f", "[f|f*] -> f")]
    found = [rule.read(read_from(tensor), ((0, 5),), SIZES).tolist() for rule in parts]
    assert found == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert {rule.tensor_shape(SIZES) for rule in parts} == {(10,)}


def test_heads_packed_by_kv_head_are_told_apart():
    """Two kv heads with six query heads each, repeated for four devices, which have three each."""
    tensor = np.arange(2 * 8 * 2)
    queries, keys = "(kv [(r g)*|1|1] h) -> (kv r) g h", "(kv [(r g)|1*|1] h) -> k 1 h"
    heads = tensor.reshape(2, 8, 2)
    found = Rearrangement.parse(queries).read(read_from(tensor), ((0, 4), (0, 3), (0, 2)), SIZES)
    np.testing.assert_array_equal(found, heads[:, :6].reshape(4, 3, 2))
    found = Rearrangement.parse(keys).read(read_from(tensor), ((0, 4), (0, 1), (0, 2)), SIZES)
    np.testing.assert_array_equal(found[:, 0], heads[:, 6].repeat(2, 0))


def test_features_that_turn_together_are_parted():
    sizes = SIZES | {"i": 6, "h": 6, "turned": 4}
    rule = Rearrangement.parse("(k i) -> k h")
    found = rule.read(read_from(np.tile(np.arange(6), 4)), ((1, 3), (0, 6)), sizes)
    assert found.tolist() == [[0, 2, 1, 3, 4, 5]] * 2


def test_one_is_added_in_float32():
    rule = Rearrangement.parse("d + 1 -> d")
    tensor = np.full(6, 2.0**-9, ml_dtypes.bfloat16)
    found = rule.read(read_from(tensor), ((0, 6),), SIZES)
    assert found.dtype == np.float32
    assert found.tolist() == [1 + 2.0**-9] * 6


def test_only_the_rows_that_are_needed_are_read():
    rule = Rearrangement.parse("(k g h) d -> d k g h")
    seen = []

    def read(slices):
        seen.append(slices)
        return np.zeros([s.stop - s.start for s in slices])

    rule.read(read, ((0, 6), (1, 3), (0, 3), (0, 2)), SIZES)
    assert seen == [(slice(6, 18), slice(0, 6))]
    seen.clear()
    rule = Rearrangement.parse("[(k g h)|(kv h)*|(kv h)] d -> d k 1 h")
    rule.read(read, ((0, 6), (2, 4), (0, 1), (0, 2)), SIZES)
    assert seen == [(slice(26, 28), slice(0, 6))]


def test_rows_past_the_end_are_zero():
    rule = Rearrangement.parse("v d -> v d")
    tensor = np.ones((7, 6))
    found = rule.read(read_from(tensor), ((5, 9), (0, 6)), SIZES)
    assert found.sum(axis=1).tolist() == [6, 6, 0, 0]
    assert not rule.read(read_from(tensor), ((8, 9), (0, 6)), SIZES).any()


def test_two_sides_with_other_axes_are_refused():
    with pytest.raises(ValueError, match="same axes"):
        Rearrangement.parse("(k h) d -> d k g h")


def test_a_table_is_written_out_for_every_layer():
    table = {"a.weight": ("a", "d -> d"), "b.{}.weight": ("blocks.{}.b:q", "d -> d")}
    table["c.weight"] = [("c:q", "[d*|d] -> d"), ("c:k", "[d|d*] -> d")]
    rule = Rearrangement.parse("d -> d")
    assert sources(table, 2) == [
        Source("a.weight", "a", None, rule),
        Source("b.0.weight", "blocks.0.b", "q", rule),
        Source("b.1.weight", "blocks.1.b", "q", rule),
        Source("c.weight", "c", "q", Rearrangement.parse("[d*|d] -> d")),
        Source("c.weight", "c", "k", Rearrangement.parse("[d|d*] -> d")),
    ]


def test_things_that_alternate_are_told_apart():
    tensor = np.arange(10)
    parts = [Rearrangement.parse(text) for text in ("(f [1*|1]) -> f", "(f [1|1*]) -> f")]
    found = [rule.read(read_from(tensor), ((1, 4),), SIZES).tolist() for rule in parts]
    assert found == [[2, 4, 6], [3, 5, 7]]


def test_a_table_is_written_out_for_every_expert():
    table = {"b.{}.{e}.weight": ("blocks.{}.up:gate", "f d -> e d 1 f")}
    rule = Rearrangement.parse("f d -> d 1 f")
    assert sources(table, 2, 2) == [
        Source("b.0.0.weight", "blocks.0.up", "gate", rule, 0),
        Source("b.0.1.weight", "blocks.0.up", "gate", rule, 1),
        Source("b.1.0.weight", "blocks.1.up", "gate", rule, 0),
        Source("b.1.1.weight", "blocks.1.up", "gate", rule, 1),
    ]


def test_a_tensor_of_one_expert_becomes_an_entry_of_the_first_axis():
    with pytest.raises(ValueError, match="first axis must become e"):
        sources({"b.{e}": ("b", "f d -> d e f")}, 1, 2)

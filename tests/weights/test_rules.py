import numpy as np
import pytest

from sgjax.weights.rules import Rearrangement, Source, sources

SIZES = {"d": 6, "k": 4, "kv": 2, "g": 3, "h": 2, "f": 5, "v": 7}


def whole(rule: Rearrangement) -> list[tuple[int, int]]:
    return [(0, 1 if name == "1" else SIZES[name]) for name in rule.given]


def read_from(tensor: np.ndarray):
    return lambda slices: tensor[slices].copy()


@pytest.mark.parametrize(
    ("text", "letters", "shape"),
    [
        ("d -> d", "d->d", (6,)),
        ("f d -> d f", "fd->df", (5, 6)),
        ("(k g h) d -> d k g h", "kghd->dkgh", (4, 3, 2, 6)),
        ("d (k g h) -> k g h d", "dkgh->kghd", (6, 4, 3, 2)),
    ],
)
def test_a_rearrangement_moves_axes_as_einsum_does(text, letters, shape):
    rule = Rearrangement.parse(text)
    tensor = np.arange(np.prod(shape)).reshape(rule.tensor_shape(SIZES))
    expected = np.einsum(letters, tensor.reshape(shape))
    found = rule.read(read_from(tensor), tuple(whole(rule)), SIZES)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("text", ["(k g h) d -> d k g h", "(kv h) d -> d k 1 h", "(kv h) -> k 1 h"])
def test_spans_read_what_the_whole_has_there(text):
    rule = Rearrangement.parse(text)
    shape = rule.tensor_shape(SIZES)
    tensor = np.arange(np.prod(shape)).reshape(shape)
    expected = rule.read(read_from(tensor), tuple(whole(rule)), SIZES)
    axis = rule.given.index("k")
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


def test_only_the_rows_that_are_needed_are_read():
    rule = Rearrangement.parse("(k g h) d -> d k g h")
    seen = []

    def read(slices):
        seen.append(slices)
        return np.zeros([s.stop - s.start for s in slices])

    rule.read(read, ((0, 6), (1, 3), (0, 3), (0, 2)), SIZES)
    assert seen == [(slice(6, 18), slice(0, 6))]


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
    rule = Rearrangement.parse("d -> d")
    assert sources(table, 2) == [
        Source("a.weight", "a", None, rule),
        Source("b.0.weight", "blocks.0.b", "q", rule),
        Source("b.1.weight", "blocks.1.b", "q", rule),
    ]

"""Units of shared prefixes: every row finds each of its shared tokens in exactly one unit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, SharedPrefixes
from sgjax.kernels_pallas.ragged_paged_attention.shared_plan import Finds, Units, shared_units

S, BLOCK = 24, 8


def within_the_step(groups: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The first of `groups`, of S rows at most."""
    sizes = np.cumsum([num_rows for num_rows, _ in groups])
    return groups[: np.searchsorted(sizes, S, side="right")]


random_groups = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from((0, 1, 8, 20, 64))), max_size=12
).map(within_the_step)


@functools.cache
def cut(**sizes):
    return jax.jit(functools.partial(shared_units, block=BLOCK, **sizes), static_argnames="size")


def rows_of(groups, num_decode=S) -> RaggedRows:
    """S rows, the first of them in `groups` of (rows, tokens shared); what padding has is noise."""
    first, shared = [], []
    for num_rows, num_tokens in groups:
        first += [len(first)] * num_rows
        shared += [num_tokens] * num_rows
    padding = [0] * (S - len(shared))
    column = functools.partial(jnp.array, dtype=jnp.int32)
    return RaggedRows(
        tables=jnp.zeros((S, 2), jnp.int32),
        starts=column(range(S)),
        num_tokens=column([1] * S),
        lengths=column([*shared, *padding]) + 1,
        num_decode=jnp.int32(num_decode),
        shared=SharedPrefixes(column([*first, *padding]), column([*shared, *padding])),
    )


def host(units: Units, finds: Finds) -> tuple[Units, Finds]:
    return jax.tree.map(np.asarray, (units, finds))


def tokens_found(row: int, units: Units, finds: Finds) -> list[int]:
    """The shared tokens in the units that a row finds, where it must have its place."""
    tokens: list[int] = []
    for unit in range(finds.unit[row], finds.unit[row] + finds.count[row]):
        assert units.row[unit] + finds.place[row] == row
        assert finds.place[row] < units.count[unit]
        tokens += range(units.first[unit], units.end[unit])
    return tokens


@given(groups=random_groups, size=st.sampled_from((1, 3, 16)), wanted=st.sampled_from((1, 7, 40)))
def test_every_row_finds_each_of_its_shared_tokens_once(groups, size, wanted):
    rows = rows_of(groups)
    units, finds = host(*cut(num_units=64, wanted=wanted)(rows, size=size))
    num_blocks = sum(-(-num_rows // size) for num_rows, shared in groups if shared)
    assert np.count_nonzero(units.count) <= max(wanted, num_blocks)
    assert not np.any(units.count > size)
    assert not np.any(units.first % BLOCK)
    for row, shared in enumerate(rows.shared.lengths.tolist()):
        assert finds.length[row] == shared
        assert tokens_found(row, units, finds) == list(range(shared))


@given(groups=random_groups, num_units=st.integers(1, 12))
def test_rows_without_room_find_nothing_and_the_others_all(groups, num_units):
    rows = rows_of(groups)
    units, finds = host(*cut(num_units=num_units, wanted=1)(rows, size=2))
    room = num_units
    for row, (first, shared) in enumerate(
        zip(rows.shared.first.tolist(), rows.shared.lengths.tolist(), strict=True)
    ):
        room -= shared > 0 and (row - first) % 2 == 0
        expected = shared if room >= 0 else 0
        assert finds.length[row] == expected
        assert tokens_found(row, units, finds) == list(range(expected))


def test_work_is_cut_finely_enough_for_all_of_the_device():
    units, _ = host(*cut(num_units=64, wanted=16)(rows_of([(8, 640), (8, 640)]), size=4))
    assert np.count_nonzero(units.count) == 16
    lengths = (units.end - units.first)[units.count > 0]
    assert set(lengths.tolist()) == {160}


def test_a_long_prefix_is_cut_into_more_units_than_a_short_one():
    _, finds = host(*cut(num_units=64, wanted=10)(rows_of([(4, 64), (4, 640)]), size=4))
    assert finds.count[4] == 9
    assert finds.count[0] == 1


@pytest.mark.parametrize("num_decode", [0, 3])
def test_rows_that_do_not_decode_share_nothing(num_decode):
    units, finds = host(
        *cut(num_units=64, wanted=4)(rows_of([(8, 40)], num_decode=num_decode), size=16)
    )
    assert finds.length.tolist() == [40] * num_decode + [0] * (S - num_decode)
    assert set(units.count.tolist()) <= {0, num_decode}

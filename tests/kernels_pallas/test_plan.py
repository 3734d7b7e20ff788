"""Query blocks: every new token of the longer rows is in exactly one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.kernels_pallas.ragged_paged_attention.plan import query_blocks


def expected_blocks(before, new, num_decode, size):
    starts = np.cumsum([0, *new])
    return [
        (row, starts[row] + done, before[row] + done, min(size, new[row] - done))
        for row in range(num_decode, len(new))
        for done in range(0, new[row], size)
    ]


@pytest.mark.parametrize("size", [1, 4, 32])
@pytest.mark.parametrize("num_decode", [0, 2])
def test_rows_are_cut_into_blocks_in_order(num_decode, size):
    before, new = [9, 3, 0, 7, 20, 5], [1, 1, 13, 0, 4, 33]
    cut = jax.jit(functools.partial(query_blocks, num_tokens=sum(new), size=size))
    blocks = cut(
        RaggedRows(
            tables=jnp.zeros((8, 4), jnp.int32),
            starts=jnp.array([*np.cumsum([0, *new])[:-1], 0, 0], jnp.int32),
            num_tokens=jnp.array([*new, 0, 0], jnp.int32),
            lengths=jnp.array([*np.add(before, new), 0, 0], jnp.int32),
            num_decode=jnp.int32(num_decode),
        )
    )
    expected = expected_blocks(before, new, num_decode, size)
    columns = (blocks.row, blocks.token, blocks.position, blocks.count)
    assert [tuple(block) for block in np.transpose(columns).tolist()][: len(expected)] == expected
    assert not np.any(blocks.count[len(expected) :])


def test_there_are_blocks_enough_when_every_row_ends_in_a_short_one():
    S, size = 6, 4
    new = jnp.full(S, 5, jnp.int32)
    rows = RaggedRows(
        tables=jnp.zeros((S, 2), jnp.int32),
        starts=jnp.arange(S, dtype=jnp.int32) * 5,
        num_tokens=new,
        lengths=new,
        num_decode=jnp.int32(0),
    )
    assert int(query_blocks(rows, num_tokens=30, size=size).count.sum()) == 30


@pytest.mark.parametrize("size", [1, 4, 32])
@pytest.mark.parametrize(("new", "T"), [([1, 1, 13, 4], 20), ([5], 47), ([1], 1), ([0], 33)])
def test_blocks_of_no_row_lie_over_what_pads_the_step(new, T, size):
    S = len(new)
    rows = RaggedRows(
        tables=jnp.zeros((S, 4), jnp.int32),
        starts=jnp.array(np.cumsum([0, *new])[:-1], jnp.int32),
        num_tokens=jnp.array(new, jnp.int32),
        lengths=jnp.array(new, jnp.int32),
        num_decode=jnp.int32(0),
    )
    blocks = query_blocks(rows, num_tokens=T, size=size)
    counts = np.where(blocks.count > 0, blocks.count, np.minimum(size, T - blocks.token))
    tokens = [
        t for first, n in zip(blocks.token, counts, strict=True) for t in range(first, first + n)
    ]
    assert tokens == list(range(T))

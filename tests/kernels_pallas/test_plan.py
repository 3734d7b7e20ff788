"""Query blocks: every new token of the longer rows is in exactly one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.kernels_pallas.ragged_paged_attention.plan import longest_first, query_blocks


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


def ragged(new: list[int], num_decode: int = 0) -> RaggedRows:
    return RaggedRows(
        tables=jnp.zeros((len(new), 4), jnp.int32),
        starts=jnp.asarray(np.cumsum([0, *new])[:-1], jnp.int32),
        num_tokens=jnp.asarray(new, jnp.int32),
        lengths=jnp.asarray(new, jnp.int32) + 100,
        num_decode=jnp.int32(num_decode),
    )


@pytest.mark.parametrize("new", [[1, 1, 13, 0, 4, 33], [8, 8, 8, 8, 7], [7] * 9, [64, 1, 63]])
def test_aligned_blocks_hold_every_new_token_once(new):
    rows = ragged(new, num_decode=1)
    blocks = query_blocks(rows, num_tokens=sum(new), size=16, align=8)
    tokens = []
    for row, token, position, count, lead in np.transpose(
        (blocks.row, blocks.token, blocks.position, blocks.count, blocks.lead)
    ).tolist():
        if count:
            assert token % 8 == 0 and lead < count <= 16
            assert position + lead - 100 == token + lead - rows.starts[row]
            tokens += range(token + lead, token + count)
    assert tokens == list(range(new[0], sum(new)))


def test_blocks_that_see_most_come_first_and_empty_ones_last():
    blocks = query_blocks(ragged([20, 0, 40, 3]), num_tokens=63, size=16)
    ordered = longest_first(blocks)
    seen = np.where(ordered.count > 0, ordered.position + ordered.count, 0)
    assert seen.tolist() == sorted(seen.tolist(), reverse=True)
    columns = (blocks.row, blocks.token, blocks.count)
    reordered = (ordered.row, ordered.token, ordered.count)
    assert sorted(np.transpose(columns).tolist()) == sorted(np.transpose(reordered).tolist())

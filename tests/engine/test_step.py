import dataclasses
from array import array

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.engine.batch import Batch, Row
from sgjax.engine.buckets import ACCELERATOR, CPU, Bucket, make_buckets, min_shared_rows, pick
from sgjax.engine.request import Request
from sgjax.engine.sample_step import SampleParams, Wants, pack_sample, unpack_sample
from sgjax.engine.step import CacheShape, pack_forward, unpack_forward
from sgjax.sampling_params import SamplingParams

SHAPE = CacheShape(num_pages=20, page_size=4, num_slots=6, max_pages_per_request=8)


def request(prompt, output=(), *, computed=0, wants_logprobs=False, **params):
    made = Request(
        rid=f"r{prompt[0]}",
        tokens=array("i", prompt),
        params=SamplingParams(**params),
        num_computed=computed,
        return_logprob=wants_logprobs,
        seed=prompt[0] + 2**31,
    )
    made.tokens.extend(output)
    return made


def row(request, slot, num_tokens, logits_from=None):
    start = request.num_computed
    end = start + num_tokens
    samples = end >= request.num_known
    if logits_from is None:
        logits_from = end - samples
    return Row(request, slot, start, num_tokens, samples, logits_from)


def mixed_batch():
    """A row that decodes, a chunk of one token, a last chunk, and a middle one."""
    rows = [
        row(request([1, 2, 3], [4], computed=4), 3, 1),
        row(request([11, 12], [13], computed=2, temperature=0.0, top_k=5), 0, 1),
        row(request(range(20, 30), computed=7), 5, 3),
        row(request(range(40, 60), computed=4), 1, 5, logits_from=6),
    ]
    updates = np.array([(5, 0, 9), (5, 1, 2), (5, 2, 7), (3, 1, 4)], np.int32).T
    return Batch.of(rows, num_decoding=1, table_updates=updates)


def decode_batch():
    """Two rows that decode; whether the host knows their tokens by now makes no difference."""
    rows = [
        row(request([1, 2, 3], [4], computed=4), 3, 1),
        row(request([11, 12], [13], computed=2), 0, 1),
    ]
    updates = np.array([(3, 1, 4)], np.int32).T
    return Batch.of(rows, num_decoding=2, table_updates=updates)


def test_a_step_reaches_the_device_as_it_was_planned():
    batch = mixed_batch()
    bucket = Bucket(16, 6, 8)
    tables = jnp.zeros((6, 8), jnp.int32).at[1].set(jnp.arange(8, dtype=jnp.int32) + 10)
    last = jnp.array([0, 0, 0, 77, 0, 0], jnp.int32)
    vector = pack_forward(batch, bucket, SHAPE)
    unpack = jax.jit(lambda *a: unpack_forward(*a, bucket=bucket, shape=SHAPE))
    step, tables = unpack(vector, tables, last)

    assert step.tokens[:10].tolist() == [77, 13, 27, 28, 29, 44, 45, 46, 47, 48]
    assert step.positions[:10].tolist() == [4, 2, 7, 8, 9, 4, 5, 6, 7, 8]
    slots = [4 * 4, 2, 2 * 4 + 3, 7 * 4, 7 * 4 + 1, 44, 45, 46, 47, 48]
    assert step.slots[:10].tolist() == slots
    assert (step.slots[10:] == SHAPE.num_cache_slots).all()
    assert tables[5, :3].tolist() == [9, 2, 7]
    assert tables[3].tolist() == [0, 4, 0, 0, 0, 0, 0, 0]
    rows = step.rows
    assert rows.starts[:4].tolist() == [0, 1, 2, 5]
    assert rows.num_tokens.tolist() == [1, 1, 3, 5, 0, 0]
    assert rows.lengths.tolist() == [5, 3, 10, 9, 0, 0]
    assert int(rows.num_decode) == 2
    assert jnp.array_equal(rows.tables[:4], tables[jnp.array([3, 0, 5, 1])])
    # Two decode rows, the last chunk's end, and three of the middle chunk's five.
    assert step.logit_rows[:6].tolist() == [0, 1, 4, 7, 8, 9]


def test_a_step_that_only_decodes_takes_its_tokens_from_the_device():
    tables = jnp.zeros((6, 8), jnp.int32).at[0, 0].set(5)
    last = jnp.array([66, 0, 0, 77, 0, 0], jnp.int32)
    bucket = Bucket(4, 4, 4, only_decode=True)
    step, tables = unpack_forward(
        jnp.asarray(pack_forward(decode_batch(), bucket, SHAPE)),
        tables,
        last,
        bucket=bucket,
        shape=SHAPE,
    )
    assert step.tokens[:2].tolist() == [77, 66]
    assert step.positions[:2].tolist() == [4, 2]
    assert step.slots.tolist() == [4 * 4, 5 * 4 + 2, SHAPE.num_cache_slots, SHAPE.num_cache_slots]
    rows = step.rows
    assert rows.starts[:2].tolist() == [0, 1]
    assert rows.num_tokens.tolist() == [1, 1, 0, 0]
    assert rows.lengths.tolist() == [5, 3, 0, 0]
    assert int(rows.num_decode) == 2
    assert step.logit_rows[:2].tolist() == [0, 1]
    assert tables[3, :2].tolist() == [0, 4]


def test_the_sampler_draws_for_every_row_that_decodes():
    batch, params = decode_batch(), SampleParams(SHAPE.num_slots)
    for each in batch.rows:
        each.request.slot = each.slot
        params.set(each.request)
    vector = pack_sample(batch, Bucket(4, 4, 4, only_decode=True), SHAPE, params)
    rows = unpack_sample(jnp.asarray(vector), 4)
    assert rows["slots"].tolist() == [3, 0, 6, 6]
    assert rows["targets"][:2].tolist() == [-1, -1]
    assert rows["positions"][:2].tolist() == [5, 3]
    assert np.asarray(rows["seeds"])[:2].view(np.uint32).tolist() == [2**31 + 1, 2**31 + 11]


@pytest.mark.parametrize(
    ("fields", "wants"),
    [
        ({"temperature": 0.0}, Wants.NOTHING),
        ({"temperature": 0.5}, Wants.CHANCE),
        ({"temperature": 0.0, "presence_penalty": 0.5}, Wants.CHANCE),
        ({"temperature": 0.0, "wants_logprobs": True}, Wants.LOGPROBS),
        ({"temperature": 0.0, "logit_bias": {3: 1.0}}, Wants.BIAS),
        ({"temperature": 0.0, "min_new_tokens": 1}, Wants.BIAS),
    ],
)
def test_one_request_decides_what_the_sampler_must_do(fields, wants):
    params = SampleParams(SHAPE.num_slots)
    rows = [
        row(request([1, 2], [4], computed=2, temperature=0.0), 0, 1),
        row(request([7, 8], [4], computed=2, **fields), 4, 1),
    ]
    for each in rows:
        each.request.slot = each.slot
        params.set(each.request)
    assert params.wants(Batch.of(rows, num_decoding=2)) == wants


def test_a_chunk_without_logits_wants_nothing():
    params = SampleParams(SHAPE.num_slots)
    chunk = row(request(range(20, 30), temperature=0.5), 4, 3)
    chunk.request.slot = 4
    params.set(chunk.request)
    assert params.wants(Batch.of([chunk])) == Wants.NOTHING


def test_the_sampler_learns_what_to_draw_and_what_is_known():
    batch, params = mixed_batch(), SampleParams(SHAPE.num_slots)
    for each in batch.rows:
        each.request.slot = each.slot
        params.set(each.request)
    vector = pack_sample(batch, Bucket(16, 6, 8), SHAPE, params)
    rows = unpack_sample(jnp.asarray(vector), 8)
    assert rows["slots"].tolist() == [3, 0, 5, 6, 6, 6, 6, 6]
    assert rows["targets"][:6].tolist() == [-1, -1, -1, 47, 48, 49]
    assert rows["positions"][:3].tolist() == [5, 3, 10]
    assert np.asarray(rows["seeds"])[:3].view(np.uint32).tolist() == [
        2**31 + n for n in (1, 11, 20)
    ]
    assert rows["temperature"][:3].tolist() == [1.0, 0.0, 1.0]
    assert rows["top_k"][:3].tolist() == [-1, 5, -1]
    assert (rows["repetition_penalty"] == 1).all()


def test_table_updates_beyond_the_buckets_room_are_left_to_the_caller():
    batch = mixed_batch()
    many = np.array([(2, i % 8, i) for i in range(30)], np.int32).T
    bucket = Bucket(16, 6, 8)
    vector = pack_forward(dataclasses.replace(batch, table_updates=many), bucket, SHAPE)
    _, tables = unpack_forward(
        jnp.asarray(vector),
        jnp.zeros((6, 8), jnp.int32),
        jnp.zeros(6, jnp.int32),
        bucket=bucket,
        shape=SHAPE,
    )
    assert bucket.num_updates(SHAPE.page_size) == 10
    assert tables[2].tolist() == [8, 9, 2, 3, 4, 5, 6, 7]


def test_every_step_within_the_limits_has_a_bucket_and_decoding_gets_its_own():
    buckets = make_buckets(CPU, max_rows=20, max_tokens=100)
    assert buckets[-1].num_tokens == 100
    decode = [row(request([i], [1], computed=1), 0, 1) for i in range(9)]
    assert pick(buckets, Batch.of(decode, num_decoding=9)) == Bucket(20, 20, 20, only_decode=True)
    chunk = row(request(range(1, 92)), 1, 91)
    assert pick(buckets, Batch.of([*decode, chunk], num_decoding=9)) == Bucket(100, 20, 100)
    wanted = row(request(range(1, 92)), 1, 91, logits_from=10)
    assert pick(buckets, Batch.of([wanted])).num_logits >= 81


def test_whole_texts_are_padded_to_less_than_twice_their_length():
    buckets = make_buckets(CPU.up_to(8192), max_rows=32, max_tokens=8192)
    sizes = sorted({bucket.num_tokens for bucket in buckets if not bucket.only_decode})
    assert sizes == [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
    assert ACCELERATOR.up_to(8192) == ACCELERATOR
    assert CPU.up_to(100) == CPU


def test_rows_that_share_reach_the_device_in_a_bucket_for_them():
    batch = dataclasses.replace(decode_batch(), shared=np.array([[0, 0], [4, 4]], np.int32))
    bucket = Bucket(4, 4, 4, only_decode=True, shared=True)
    step, _ = unpack_forward(
        jnp.asarray(pack_forward(batch, bucket, SHAPE)),
        jnp.zeros((6, 8), jnp.int32),
        jnp.zeros(6, jnp.int32),
        bucket=bucket,
        shape=SHAPE,
    )
    assert step.rows.lengths.tolist() == [5, 3, 0, 0]
    assert step.rows.shared.first.tolist() == [0, 0, 0, 0]
    assert step.rows.shared.lengths.tolist() == [4, 4, 0, 0]


def test_a_bucket_for_shared_prefixes_is_for_batches_that_are_arranged_for_it():
    sizes = dataclasses.replace(CPU, shared_from=8)
    buckets = make_buckets(sizes, max_rows=20, max_tokens=100)
    rows = [row(request([i], [1], computed=1), 0, 1) for i in range(6)]
    plain = Batch.of(rows, num_decoding=6)
    assert pick(buckets, plain) == Bucket(8, 8, 8, only_decode=True)
    shared = dataclasses.replace(plain, shared=np.zeros((2, 6), np.int32))
    assert pick(buckets, shared) == Bucket(8, 8, 8, only_decode=True, shared=True)
    unshared = [bucket for bucket in buckets if not bucket.shared]
    assert pick(unshared, shared) == Bucket(8, 8, 8, only_decode=True)
    chunk = row(request(range(1, 30)), 1, 29)
    mixed = dataclasses.replace(Batch.of([*rows, chunk], num_decoding=6), shared=shared.shared)
    assert not pick(buckets, mixed).only_decode
    # Two rows are padded to 8; one has a bucket of its own, which has no twin.
    assert min_shared_rows(buckets) == 2
    assert min_shared_rows(unshared) is None


def test_on_an_accelerator_steps_of_many_rows_alone_come_for_shared_prefixes():
    buckets = make_buckets(ACCELERATOR, max_rows=200, max_tokens=8192)
    assert [bucket.num_rows for bucket in buckets if bucket.shared] == [32, 64, 128, 192, 200]
    assert min_shared_rows(buckets) == 17
    assert not any(bucket.shared for bucket in make_buckets(CPU, max_rows=32, max_tokens=256))


def test_one_row_decodes_in_the_smallest_bucket():
    buckets = make_buckets(CPU, max_rows=32, max_tokens=256)
    batch = Batch.of([row(request([5], [1], computed=1), 0, 1)], num_decoding=1)
    assert pick(buckets, batch) == Bucket(1, 1, 1, only_decode=True)
    chunk = Batch.of([row(request([5, 6, 7]), 0, 3)])
    assert not pick(buckets, chunk).only_decode

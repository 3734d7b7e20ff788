"""One step on its way to the device: packed into one int32 vector, unpacked in the program.

Sixteen small transfers cost more than a decode step's whole planning; one packed vector does not.
Floats travel as their bits. The layouts below are the wire format of a step.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from sgjax.engine.batch import Batch, ranges
from sgjax.engine.buckets import Bucket
from sgjax.engine.request import Request
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, SharedPrefixes
from sgjax.layers.inputs import StepInputs


@dataclasses.dataclass(frozen=True)
class CacheShape:
    """The sizes of the paged cache and of the arrays that are kept per request slot."""

    num_pages: int
    page_size: int
    num_slots: int
    max_pages_per_request: int

    @property
    def num_cache_slots(self) -> int:
        return self.num_pages * self.page_size


class Layout:
    """Named int32 segments of one vector."""

    def __init__(self, **lengths: int):
        ends = np.cumsum([0, *lengths.values()]).tolist()
        self._slices = {
            name: slice(start, stop)
            for name, start, stop in zip(lengths, ends[:-1], ends[1:], strict=True)
        }
        self.size = ends[-1]

    def split(self, vector: Any) -> dict[str, Any]:
        """The segments by name: views of a numpy vector, slices of a traced one."""
        return {name: vector[at] for name, at in self._slices.items()}


@functools.cache
def forward_layout(bucket: Bucket, shape: CacheShape) -> Layout:
    T, S, U = bucket.num_tokens, bucket.num_rows, bucket.num_updates(shape.page_size)
    return Layout(
        tokens=T,
        positions=T,
        token_slots=T,
        row_slots=S,
        starts=S,
        num_tokens=S,
        lengths=S,
        logit_rows=bucket.num_logits,
        update_at=U,
        update_page=U,
        num_decode=1,
        shared_first=S if bucket.shared else 0,
        shared_tokens=S if bucket.shared else 0,
    )


def pack_forward(batch: Batch, bucket: Bucket, shape: CacheShape) -> np.ndarray:
    """The forward program's vector, i32. The token of a row that decodes is given as -1 - slot: the
    slot's last one, which is on the device.

    Padding points past the ends of the device's arrays, where writes are dropped. At most
    `bucket.num_updates` table updates are taken, the first ones: the others go ahead of the step.
    """
    layout = forward_layout(bucket, shape)
    vector = np.zeros(layout.size, np.int32)
    parts = layout.split(vector)
    n = len(batch.requests)
    slots, starts, counts, _, _ = batch.columns
    parts["row_slots"][:n] = slots
    parts["num_tokens"][:n] = counts
    np.add(starts, counts, out=parts["lengths"][:n])
    parts["num_decode"][0] = np.count_nonzero(counts == 1)
    parts["tokens"][: batch.num_decoding] = -1 - slots[: batch.num_decoding]
    parts["token_slots"][batch.num_tokens :] = shape.num_slots
    if batch.only_decodes:
        parts["token_slots"][:n] = slots
        parts["positions"][:n] = starts
        parts["starts"][:n] = parts["logit_rows"][:n] = np.arange(n)
    else:
        _pack_chunks(parts, batch)
    if bucket.shared and batch.shared is not None:
        first, shared_tokens = batch.shared
        parts["shared_first"][: len(first)] = first
        parts["shared_tokens"][: len(first)] = shared_tokens
    _pack_updates(parts, batch.table_updates, shape)
    return vector


def _pack_chunks(parts: Mapping[str, np.ndarray], batch: Batch) -> None:
    """What is more than an entry a row."""
    slots, starts, counts, _, logits_from = batch.columns
    firsts = np.cumsum(counts) - counts
    parts["starts"][: len(firsts)] = firsts
    parts["token_slots"][: batch.num_tokens] = np.repeat(slots, counts)
    parts["positions"][: batch.num_tokens] = ranges(starts, counts)
    wanted = ranges(firsts + logits_from - starts, starts + counts - logits_from)
    parts["logit_rows"][: len(wanted)] = wanted
    tokens = parts["tokens"]
    for row in range(batch.num_decoding, len(batch.requests)):
        first, start, count = int(firsts[row]), int(starts[row]), int(counts[row])
        tokens[first : first + count] = known_tokens(batch.requests[row], start, count)


def known_tokens(request: Request, start: int, count: int) -> np.ndarray:
    """i32[count] of the request's tokens. A view: while it lives, no token can be added."""
    return np.frombuffer(request.tokens, np.int32)[start : start + count]


def _pack_updates(parts: Mapping[str, np.ndarray], updates: np.ndarray, shape: CacheShape) -> None:
    parts["update_at"][:] = shape.num_slots * shape.max_pages_per_request
    if updates.shape[1]:
        slots, columns, pages = updates[:, : len(parts["update_at"])]
        parts["update_at"][: len(pages)] = slots * shape.max_pages_per_request + columns
        parts["update_page"][: len(pages)] = pages


def update_tables(
    tables: Int32[Array, "slots C"], at: Int32[Array, "U"], pages: Int32[Array, "U"]
) -> Int32[Array, "slots C"]:
    """Writes `pages` at flat indices `at` of the page tables; indices past the end are dropped."""
    return tables.reshape(-1).at[at].set(pages, mode="drop").reshape(tables.shape)


def unpack_forward(
    vector: Int32[Array, "n"],
    tables: Int32[Array, "slots C"],
    last_tokens: Int32[Array, "slots"],
    *,
    bucket: Bucket,
    shape: CacheShape,
) -> tuple[StepInputs, Int32[Array, "slots C"]]:
    """What the model computes, from a packed vector and the device's state; and the new tables."""
    parts = forward_layout(bucket, shape).split(vector)
    tables = update_tables(tables, parts["update_at"], parts["update_page"])
    tokens = parts["tokens"]
    in_flight = last_tokens[jnp.maximum(-1 - tokens, 0)]
    positions, token_slots = parts["positions"], parts["token_slots"]
    pages = tables.at[token_slots, positions // shape.page_size].get(
        mode="fill", fill_value=shape.num_pages
    )
    rows = RaggedRows(
        tables=tables[parts["row_slots"]],
        starts=parts["starts"],
        num_tokens=parts["num_tokens"],
        lengths=parts["lengths"],
        num_decode=parts["num_decode"][0],
        shared=SharedPrefixes(parts["shared_first"], parts["shared_tokens"])
        if bucket.shared
        else None,
    )
    step = StepInputs(
        tokens=jnp.where(tokens < 0, in_flight, tokens),
        positions=positions,
        slots=pages * shape.page_size + positions % shape.page_size,
        rows=rows,
        logit_rows=parts["logit_rows"],
        page_size=shape.page_size,
        only_decode=bucket.only_decode,
    )
    return step, tables

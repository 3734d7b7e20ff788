"""One step on its way to the device: packed into one int32 vector, unpacked in the program.

Sixteen small transfers cost more than a decode step's whole planning; one packed vector does not.
Floats travel as their bits. The layouts below are the wire format of a step.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from sgjax.engine.batch import Batch, Row
from sgjax.engine.buckets import Bucket
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
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
    )


def pack_forward(batch: Batch, bucket: Bucket, shape: CacheShape) -> np.ndarray:
    """The forward program's vector, i32. A token in flight is given as -1 - slot.

    Padding points past the ends of the device's arrays, where writes are dropped. At most
    `bucket.num_updates` table updates are taken, the first ones: the others go ahead of the step.
    """
    layout = forward_layout(bucket, shape)
    vector = np.zeros(layout.size, np.int32)
    parts = layout.split(vector)
    n = len(batch.rows)
    table = np.array(
        [(row.slot, row.start, row.num_tokens, row.end) for row in batch.rows], np.int32
    ).reshape(n, 4)
    slots, starts, counts, ends = table.T
    parts["row_slots"][:n] = slots
    parts["num_tokens"][:n] = counts
    parts["lengths"][:n] = ends
    firsts = np.cumsum(counts) - counts
    parts["starts"][:n] = firsts
    num_tokens = int(counts.sum())
    parts["tokens"][:num_tokens] = _tokens(batch.rows)
    parts["token_slots"][:num_tokens] = np.repeat(slots, counts)
    parts["token_slots"][num_tokens:] = shape.num_slots
    parts["positions"][:num_tokens] = np.repeat(starts - firsts, counts) + np.arange(num_tokens)
    parts["num_decode"][0] = int((counts == 1).sum())
    wanted = _logit_rows(batch, firsts)
    parts["logit_rows"][: len(wanted)] = wanted
    _pack_updates(parts, batch.table_updates, shape)
    return vector


def _tokens(rows: list[Row]) -> list[int]:
    tokens: list[int] = []
    for row in rows:
        known = row.request.num_known
        if row.end <= known:
            tokens += row.request.token_ids(row.start, row.end)
        else:
            tokens += row.request.token_ids(row.start, known)
            tokens.append(-1 - row.slot)
    return tokens


def _logit_rows(batch: Batch, firsts: np.ndarray) -> list[int]:
    wanted: list[int] = []
    for row, first in zip(batch.rows, firsts.tolist(), strict=True):
        wanted += range(first + row.logits_from - row.start, first + row.num_tokens)
    return wanted


def _pack_updates(
    parts: Mapping[str, np.ndarray], updates: list[tuple[int, int, int]], shape: CacheShape
) -> None:
    parts["update_at"][:] = shape.num_slots * shape.max_pages_per_request
    if updates:
        count = min(len(updates), len(parts["update_at"]))
        slots, columns, pages = np.array(updates[:count], np.int32).T
        parts["update_at"][:count] = slots * shape.max_pages_per_request + columns
        parts["update_page"][:count] = pages


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


SAMPLE_FLOATS = (
    "temperature",
    "top_p",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
)


def sample_layout(num_logits: int) -> Layout:
    ints = ("slots", "targets", "seeds", "positions", "top_k")
    return Layout(**dict.fromkeys((*ints, *SAMPLE_FLOATS), num_logits))


def pack_sample(batch: Batch, bucket: Bucket, shape: CacheShape) -> np.ndarray:
    """The sampler's vector, i32, an entry per wanted logits.

    `targets` are known tokens (for prompt logprobs), or -1 where a token is drawn; `slots` is where
    a drawn token is kept for the next step, past the end otherwise; `positions` is the place of the
    token in its request, which makes its random numbers the same in whatever batch it is drawn.
    """
    layout = sample_layout(bucket.num_logits)
    vector = np.zeros(layout.size, np.int32)
    parts = layout.split(vector)
    parts["slots"][:] = shape.num_slots
    parts["top_k"][:] = -1
    ones = np.float32(1).view(np.int32)
    for name in ("temperature", "top_p", "repetition_penalty"):
        parts[name][:] = ones
    at: list[int] = []
    drawn: list[Row] = []
    count = 0
    for row in batch.rows:
        known = row.num_logits - row.samples
        if known:
            first = row.logits_from + 1
            parts["targets"][count : count + known] = row.request.token_ids(first, first + known)
        count += row.num_logits
        if row.samples:
            at.append(count - 1)
            drawn.append(row)
    if not drawn:
        return vector
    ints = [(row.slot, -1, row.request.seed, row.end, row.request.params.top_k) for row in drawn]
    for name, column in zip(
        ("slots", "targets", "seeds", "positions", "top_k"), np.array(ints).T, strict=True
    ):
        parts[name][at] = column.astype(np.int32)
    params = [row.request.params for row in drawn]
    for name in SAMPLE_FLOATS:
        values = np.fromiter((getattr(p, name) for p in params), np.float32, len(params))
        parts[name][at] = values.view(np.int32)
    return vector


def unpack_sample(vector: Int32[Array, "n"], num_logits: int) -> dict[str, Array]:
    """The sampler's arrays by name: i32[R], and f32[R] for SAMPLE_FLOATS."""
    parts = sample_layout(num_logits).split(vector)
    return {
        name: jax.lax.bitcast_convert_type(part, jnp.float32) if name in SAMPLE_FLOATS else part
        for name, part in parts.items()
    }

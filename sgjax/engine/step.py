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
from sgjax.engine.request import NO_SLOT, Request
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.layers.inputs import StepInputs
from sgjax.sampling_params import SamplingParams


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
    slots, starts, counts, logits_from = _columns(batch.rows)
    ends = starts + counts
    firsts = np.cumsum(counts) - counts
    num_tokens = int(counts.sum())
    parts["row_slots"][:n] = slots
    parts["num_tokens"][:n] = counts
    parts["lengths"][:n] = ends
    parts["starts"][:n] = firsts
    parts["tokens"][:num_tokens] = _tokens(batch.rows)
    parts["token_slots"][:num_tokens] = np.repeat(slots, counts)
    parts["token_slots"][num_tokens:] = shape.num_slots
    parts["positions"][:num_tokens] = _ranges(starts, counts)
    parts["num_decode"][0] = np.count_nonzero(counts == 1)
    wanted = _ranges(firsts + logits_from - starts, ends - logits_from)
    parts["logit_rows"][: len(wanted)] = wanted
    _pack_updates(parts, batch.table_updates, shape)
    return vector


def _columns(rows: list[Row]) -> np.ndarray:
    """slot, start, num_tokens and logits_from of all rows: i32[4, rows]."""
    _, slots, starts, counts, _, logits_from = zip(*rows, strict=True)
    return np.array((slots, starts, counts, logits_from), np.int32)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """counts[0] numbers from starts[0], then counts[1] from starts[1], and so on."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)


def _tokens(rows: list[Row]) -> list[int]:
    tokens: list[int] = []
    for request, slot, start, count, _, _ in rows:
        known = len(request.prompt_ids) + len(request.output_ids)
        end = start + count
        if end <= known:
            tokens += request.token_ids(start, end)
        else:
            if count > 1:
                tokens += request.token_ids(start, known)
            tokens.append(-1 - slot)
    return tokens


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
_OF_REQUEST = ("seeds", "top_k", *SAMPLE_FLOATS)


class SampleParams:
    """The numbers that the sampler wants of each running request, by slot: i32[slots, n].

    They are written when a request takes its slot, so that a step gathers them in one go.
    """

    def __init__(self, num_slots: int):
        # The row past the end is what padding draws with.
        self._rows = np.zeros((num_slots + 1, len(_OF_REQUEST)), np.int32)
        self._rows[:] = self._row(0, SamplingParams())

    def set(self, request: Request) -> None:
        assert request.slot != NO_SLOT
        self._rows[request.slot] = self._row(request.seed, request.params)

    def columns(self, slots: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(_OF_REQUEST, self._rows[slots].T, strict=True))

    def _row(self, seed: int, params: SamplingParams) -> np.ndarray:
        ints = np.array([seed, params.top_k], np.int64).astype(np.int32)
        floats = np.array([getattr(params, name) for name in SAMPLE_FLOATS], np.float32)
        return np.concatenate([ints, floats.view(np.int32)])


def sample_layout(num_logits: int) -> Layout:
    return Layout(**dict.fromkeys(("slots", "targets", "positions", *_OF_REQUEST), num_logits))


def pack_sample(
    batch: Batch, bucket: Bucket, shape: CacheShape, params: SampleParams
) -> np.ndarray:
    """The sampler's vector, i32, an entry per wanted logits.

    `targets` are known tokens (for prompt logprobs), or -1 where a token is drawn; `slots` is where
    a drawn token is kept for the next step, past the end otherwise; `positions` is the place of the
    token in its request, which makes its random numbers the same in whatever batch it is drawn.
    """
    layout = sample_layout(bucket.num_logits)
    vector = np.zeros(layout.size, np.int32)
    parts = layout.split(vector)
    parts["slots"][:] = shape.num_slots
    slots, starts, counts, logits_from = _columns(batch.rows)
    ends = starts + counts
    num_logits = ends - logits_from
    samples = np.array([row.samples for row in batch.rows])
    last = np.cumsum(num_logits)[samples] - 1
    parts["slots"][last] = slots[samples]
    parts["targets"][last] = -1
    parts["positions"][last] = ends[samples]
    for index in np.flatnonzero(num_logits > samples):
        row, stop = batch.rows[index], int(num_logits[: index + 1].sum())
        first, known = row.logits_from + 1, row.num_logits - row.samples
        start = stop - row.num_logits
        parts["targets"][start : start + known] = row.request.token_ids(first, first + known)
    for name, column in params.columns(parts["slots"]).items():
        parts[name][:] = column
    return vector


def unpack_sample(vector: Int32[Array, "n"], num_logits: int) -> dict[str, Array]:
    """The sampler's arrays by name: i32[R], and f32[R] for SAMPLE_FLOATS."""
    parts = sample_layout(num_logits).split(vector)
    return {
        name: jax.lax.bitcast_convert_type(part, jnp.float32) if name in SAMPLE_FLOATS else part
        for name, part in parts.items()
    }

"""What the sampler is told of a step: whose logits are whose, and how each token is drawn."""

import enum
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from sgjax.engine.batch import Batch
from sgjax.engine.buckets import Bucket
from sgjax.engine.request import NO_SLOT, Request
from sgjax.engine.step import CacheShape, Layout, known_tokens
from sgjax.sampling_params import SamplingParams

SAMPLE_FLOATS = (
    "temperature",
    "top_p",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
)
_OF_ENTRY = ("slots", "holds", "targets", "positions")
_OF_REQUEST = ("seeds", "top_k", *SAMPLE_FLOATS)


class Wants(enum.IntFlag):
    """What a request wants of the sampler that others do not."""

    NOTHING = 0
    CHANCE = 1
    """Its token is drawn, or chosen after penalties: it is not just the likeliest."""
    LOGPROBS = 2
    BIAS = 4
    """It has logit biases, or a minimum of tokens."""
    MASK = 8
    """It has a grammar: its token is not drawn by the step, but once the mask is there."""

    @classmethod
    def of(cls, request: Request) -> "Wants":
        params = request.params
        wants = cls.NOTHING
        if request.grammar is not None:
            wants |= cls.MASK
        elif params.has_penalties or not params.is_greedy:
            wants |= cls.CHANCE
        if request.return_logprob:
            wants |= cls.LOGPROBS
        if params.logit_bias or params.min_new_tokens:
            wants |= cls.BIAS
        return wants


class SampleParams:
    """What the sampler must know of each running request, by slot.

    It is written when a request takes its slot, so that a step gathers it in one go.
    """

    def __init__(self, num_slots: int):
        # The row past the end is what padding draws with.
        self._rows = np.zeros((num_slots + 1, len(_OF_REQUEST)), np.int32)
        self._rows[:] = self._row(0, SamplingParams())
        self.num_slots = num_slots
        self._wants = np.zeros(num_slots, np.int32)

    def set(self, request: Request) -> None:
        assert request.slot != NO_SLOT
        self._rows[request.slot] = self._row(request.seed, request.params)
        self._wants[request.slot] = Wants.of(request)

    def rows(self, slots: np.ndarray) -> np.ndarray:
        """The fields of _OF_REQUEST: i32[len(slots), 8]."""
        return self._rows[slots]

    def apart(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those whose token the step draws, and those whose logits are held, of requests with
        grammars: in either, the slot past the end where the other has one."""
        is_held = self._wants[slots] & Wants.MASK != 0
        return np.where(is_held, self.num_slots, slots), np.where(is_held, slots, self.num_slots)

    def wants(self, batch: Batch) -> Wants:
        """All that is wanted of the batch's logits."""
        slots, starts, counts, _, logits_from = batch.columns
        if not batch.only_decodes:
            slots = slots[logits_from < starts + counts]
        return Wants(int(np.bitwise_or.reduce(self._wants[slots])))

    def _row(self, seed: int, params: SamplingParams) -> np.ndarray:
        ints = np.array([seed, params.top_k], np.int64).astype(np.int32)
        floats = np.array([getattr(params, name) for name in SAMPLE_FLOATS], np.float32)
        return np.concatenate([ints, floats.view(np.int32)])


@functools.cache
def sample_layout(num_logits: int) -> Layout:
    return Layout(**dict.fromkeys((*_OF_ENTRY, *_OF_REQUEST), num_logits))


def pack_sample(
    batch: Batch, bucket: Bucket, shape: CacheShape, params: SampleParams
) -> np.ndarray:
    """The sampler's vector, i32, an entry per wanted logits.

    `slots` is where a drawn token is kept for the next step, `holds` where logits are kept of which
    one is drawn later, both past the end otherwise; `targets` are known tokens (for prompt
    logprobs), or -1 where a token is drawn; `positions` is the place of the token in its request,
    which makes its random numbers the same in whatever batch it is drawn.
    """
    vector = np.zeros((len(_OF_ENTRY) + len(_OF_REQUEST), bucket.num_logits), np.int32)
    slots, holds, targets, positions = vector[: len(_OF_ENTRY)]
    slots[:] = holds[:] = shape.num_slots
    if batch.only_decodes:
        n = len(batch.requests)
        row_slots, starts = batch.columns[:2]
        slots[:n], holds[:n] = params.apart(row_slots)
        targets[:n] = -1
        np.add(starts, 1, out=positions[:n])
    else:
        _pack_entries(batch, slots, targets, positions)
        last = slots < shape.num_slots
        slots[last], holds[last] = params.apart(slots[last])
    vector[len(_OF_ENTRY) :] = params.rows(slots).T
    return vector.reshape(-1)


def pack_draw(requests: Sequence[Request], num_logits: int, params: SampleParams) -> np.ndarray:
    """The sampler's vector for the undrawn tokens of some requests, an entry each; the others draw
    nothing."""
    vector = np.zeros((len(_OF_ENTRY) + len(_OF_REQUEST), num_logits), np.int32)
    slots, holds, targets, positions = vector[: len(_OF_ENTRY)]
    n = len(requests)
    slots[:] = params.num_slots
    slots[:n] = [request.slot for request in requests]
    holds[:] = slots
    targets[:n] = -1
    positions[:n] = [request.num_known for request in requests]
    vector[len(_OF_ENTRY) :] = params.rows(slots).T
    return vector.reshape(-1)


def _pack_entries(
    batch: Batch, slots: np.ndarray, targets: np.ndarray, positions: np.ndarray
) -> None:
    row_slots, starts, counts, samples, logits_from = batch.columns
    ends = starts + counts
    num_logits = ends - logits_from
    stops = np.cumsum(num_logits)
    draws = samples == 1
    last = stops[draws] - 1
    slots[last] = row_slots[draws]
    targets[last] = -1
    positions[last] = ends[draws]
    for row in np.flatnonzero(num_logits > samples).tolist():
        known = int(num_logits[row] - samples[row])
        start = int(stops[row] - num_logits[row])
        first = int(logits_from[row]) + 1
        targets[start : start + known] = known_tokens(batch.requests[row], first, known)


def unpack_sample(vector: Int32[Array, "n"], num_logits: int) -> dict[str, Array]:
    """The sampler's arrays by name: i32[R], and f32[R] for SAMPLE_FLOATS."""
    parts = sample_layout(num_logits).split(vector)
    return {
        name: jax.lax.bitcast_convert_type(part, jnp.float32) if name in SAMPLE_FLOATS else part
        for name, part in parts.items()
    }

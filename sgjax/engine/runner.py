"""The device's side of the engine: weights, cache, compiled programs, and steps through them."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int16, Int32

from sgjax.cache.kv_cache import LayerKV
from sgjax.engine import compiler_options, sampler
from sgjax.engine.batch import Batch, Row, StepResults
from sgjax.engine.buckets import Bucket, pick
from sgjax.engine.programs import Key, Programs, Source, Stopwatch
from sgjax.engine.request import Request
from sgjax.engine.sample_step import SampleParams, Wants, pack_sample, sample_layout
from sgjax.engine.sampler import Sampled, Variant
from sgjax.engine.step import (
    CacheShape,
    forward_layout,
    pack_forward,
    unpack_forward,
    update_tables,
)

_PIECE = 1024
"""Entries of one call of the small programs: longer lists take several calls."""


@dataclasses.dataclass(frozen=True)
class DeviceState:
    """All that steps change on the device; every step replaces it, its arrays are donated."""

    kv: list[LayerKV]
    tables: Int32[Array, "slots C"]
    last_tokens: Int32[Array, "slots"]
    seen: Int16[Array, "slots V"]


@dataclasses.dataclass(frozen=True)
class LaunchedStep:
    """A step on its way: `read` waits for it."""

    batch: Batch
    sampled: Sampled | None
    clock: Stopwatch = dataclasses.field(default_factory=Stopwatch)

    def read(self) -> StepResults:
        if self.sampled is None:
            return StepResults(np.zeros(0, np.int32))
        count = self.batch.num_logits
        tokens, *more = self.sampled
        logprobs = (None if x is None else np.asarray(x)[:count] for x in more)
        return StepResults(np.asarray(tokens)[:count], *logprobs)


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as a plain function of plain arrays: forward(params, kv, step) -> (logits, kv)."""

    forward: Callable[..., Any]
    params: Any
    init_kv: Callable[[int], list[LayerKV]]
    vocab_size: int


class ModelRunner:
    """Runs batches. One thread calls it; device work is asynchronous until a step is read."""

    def __init__(
        self,
        model: Model,
        shape: CacheShape,
        buckets: list[Bucket],
        *,
        mesh: Mesh,
        num_compile_threads: int = 4,
        has_graphs: bool = True,
    ):
        self._model = model
        self._shape = shape
        self._buckets = buckets
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._platform = mesh.devices.flat[0].platform
        self._has_graphs = has_graphs
        self._state = self._new_state()
        self._params = SampleParams(shape.num_slots)
        self.programs = Programs(dict(self._sources()), num_compile_threads)

    @property
    def state(self) -> DeviceState:
        """What the next step will be given, and take."""
        return self._state

    @property
    def serving_keys(self) -> list[Key]:
        """The smallest closed set of programs: with these, every step can run."""
        last = self._buckets[-1]
        keys: list[Key] = [("forward", last), ("bias", last.num_logits), "tables", "seen"]
        return keys + [("sample", last.num_logits, variant) for variant in Variant]

    def reset(self) -> None:
        """Makes the device's state anew: after a failed step the old one may be lost."""
        del self._state  # there is no room for two
        self._state = self._new_state()

    def launch(self, batch: Batch) -> LaunchedStep:
        """Starts a step; its results can be read later. The host does not wait for the device."""
        for request in batch.restarted:
            self._params.set(request)
            if request.params.has_penalties:
                self._restart_seen(request)
        wants = self._params.wants(batch)
        variant = _variant(wants)
        bucket = pick((b for b in self._buckets if self._has(b, variant)), batch)
        self._write_tables(batch.table_updates[:, bucket.num_updates(self._shape.page_size) :])
        state = self._state
        logits, kv, tables = self.programs["forward", bucket](
            self._model.params,
            state.kv,
            state.tables,
            state.last_tokens,
            pack_forward(batch, bucket, self._shape),
        )
        self._state = state = dataclasses.replace(state, kv=kv, tables=tables)
        if not batch.num_logits:
            return LaunchedStep(batch, None)
        sampled, last_tokens, seen = self.programs["sample", bucket.num_logits, variant](
            self._biased(logits, batch, bucket) if wants & Wants.BIAS else logits,
            logits,
            state.last_tokens,
            state.seen,
            pack_sample(batch, bucket, self._shape, self._params),
        )
        self._state = dataclasses.replace(state, last_tokens=last_tokens, seen=seen)
        for output in sampled:
            if output is not None:
                output.copy_to_host_async()
        return LaunchedStep(batch, sampled)

    def close(self, *, wait: bool) -> None:
        """Stops compiling; `wait`: until what has begun is done."""
        self.programs.close(wait=wait)

    def _has(self, bucket: Bucket, variant: Variant) -> bool:
        keys = (("forward", bucket), ("sample", bucket.num_logits, variant))
        return all(key in self.programs for key in (*keys, ("bias", bucket.num_logits)))

    def _new_state(self) -> DeviceState:
        shape = self._shape
        slots = shape.num_slots
        make = functools.partial(jnp.zeros, device=self._replicated)
        return DeviceState(
            kv=self._model.init_kv(shape.num_cache_slots),
            tables=make((slots, shape.max_pages_per_request), jnp.int32),
            last_tokens=make((slots,), jnp.int32),
            seen=make((slots, self._model.vocab_size), jnp.int16),
        )

    # What a step needs besides its two programs, rarely.

    def _write_tables(self, updates: np.ndarray) -> None:
        shape = self._shape
        for first in range(0, updates.shape[1], _PIECE):
            slots, columns, new = updates[:, first : first + _PIECE]
            at = np.full(_PIECE, shape.num_slots * shape.max_pages_per_request, np.int32)
            pages = np.zeros(_PIECE, np.int32)
            at[: len(new)] = slots * shape.max_pages_per_request + columns
            pages[: len(new)] = new
            tables = self.programs["tables"](self._state.tables, at, pages)
            self._state = dataclasses.replace(self._state, tables=tables)

    def _restart_seen(self, request: Request) -> None:
        """Gives the sampler a request's history: bit 0 for the prompt, counts of its output."""
        values = dict.fromkeys(request.prompt_ids, 1)
        for token, count in collections.Counter(request.output_ids).items():
            values[token] = values.get(token, 0) + 2 * min(count, 2**13)
        for i, piece in enumerate(_pieces(list(values.items()))):
            tokens = np.full(_PIECE, self._model.vocab_size, np.int32)
            counts = np.zeros(_PIECE, np.int16)
            tokens[: len(piece)], counts[: len(piece)] = np.array(piece).T
            seen = self.programs["seen"](
                self._state.seen, np.int32(request.slot), np.bool_(i == 0), tokens, counts
            )
            self._state = dataclasses.replace(self._state, seen=seen)

    def _biased(self, logits: Array, batch: Batch, bucket: Bucket) -> Array:
        for piece in _pieces(_biases(batch)):
            rows = np.full(_PIECE, bucket.num_logits, np.int32)
            tokens = np.zeros(_PIECE, np.int32)
            values = np.zeros(_PIECE, np.float32)
            rows[: len(piece)] = [row for row, _, _ in piece]
            tokens[: len(piece)] = [token for _, token, _ in piece]
            values[: len(piece)] = [value for _, _, value in piece]
            logits = self.programs["bias", bucket.num_logits](logits, rows, tokens, values)
        return logits

    # How every program is lowered.

    def _sources(self) -> list[tuple[Key, Source]]:
        state = self._state
        kv = jax.tree.map(_abstract, state.kv)
        tables, last_tokens, seen = map(_abstract, (state.tables, state.last_tokens, state.seen))
        params = jax.tree.map(_abstract, self._model.params)
        vector = functools.partial(self._input, jnp.int32)
        sources: list[tuple[Key, Source]] = []
        logits = {}
        for bucket in reversed(self._buckets):
            size = forward_layout(bucket, self._shape).size
            arguments = (params, kv, tables, last_tokens, vector(size))
            program = self._forward_program(bucket, kv[0].k.sharding)
            compilation = compiler_options.of_forward(
                bucket.num_tokens, self._platform, has_graphs=self._has_graphs
            )
            lower = functools.partial(program.lower, *arguments)
            sources.append((("forward", bucket), Source(lower, compilation)))
            count = bucket.num_logits
            logits[count] = self._input(jnp.float32, count, self._model.vocab_size)
        for (count, x), variant in itertools.product(logits.items(), Variant):
            arguments = (x, x, last_tokens, seen, vector(sample_layout(count).size))
            program = jax.jit(
                functools.partial(sampler.sample, variant=variant),
                donate_argnums=(2, 3),
                out_shardings=self._replicated,
            )
            key = ("sample", count, variant)
            sources.append((key, Source(functools.partial(program.lower, *arguments))))
        piece = vector(_PIECE)
        floats = self._input(jnp.float32, _PIECE)
        for count, x in logits.items():
            program = jax.jit(sampler.add_bias, out_shardings=self._replicated)
            lower = functools.partial(program.lower, x, piece, piece, floats)
            sources.append((("bias", count), Source(lower)))
        program = jax.jit(update_tables, donate_argnums=0, out_shardings=self._replicated)
        sources.append(("tables", Source(functools.partial(program.lower, tables, piece, piece))))
        program = jax.jit(sampler.restart_seen, donate_argnums=0, out_shardings=self._replicated)
        lower = functools.partial(
            program.lower,
            seen,
            vector(),
            self._input(jnp.bool_),
            piece,
            self._input(jnp.int16, _PIECE),
        )
        sources.append(("seen", Source(lower)))
        return sources

    def _forward_program(self, bucket: Bucket, kv_sharding: jax.sharding.Sharding) -> Any:
        def forward(params: Any, kv: list[LayerKV], tables: Array, last: Array, vector: Array):
            step, tables = unpack_forward(vector, tables, last, bucket=bucket, shape=self._shape)
            logits, kv = self._model.forward(params, kv, step)
            return logits, kv, tables

        return jax.jit(
            forward,
            donate_argnums=(1, 2),
            out_shardings=(self._replicated, kv_sharding, self._replicated),
        )

    def _input(self, dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self._replicated)


def describe(key: Key) -> str:
    """A program's key, for people."""
    match key:
        case (kind, size):
            return f"{kind} {size}"
        case (kind, size, Variant(value=variant)):
            return f"{kind} {size} {variant}"
    return str(key)


def _variant(wants: Wants) -> Variant:
    if wants & Wants.LOGPROBS:
        return Variant.LOGPROBS
    return Variant.GENERAL if wants & Wants.CHANCE else Variant.GREEDY


def _biases(batch: Batch) -> list[tuple[int, int, float]]:
    """(logits row, token, what to add) of all rows that draw a token with biases."""
    biases: list[tuple[int, int, float]] = []
    at = -1
    for row in batch.rows:
        at += row.num_logits
        if row.samples:
            biases += [(at, token, value) for token, value in _row_biases(row)]
    return biases


def _row_biases(row: Row) -> list[tuple[int, float]]:
    request = row.request
    wanted = request.params.logit_bias or {}
    biases = [(token, float(value)) for token, value in wanted.items()]
    if row.end - request.num_prompt < request.params.min_new_tokens:
        biases += [(token, -np.inf) for token in request.stop_ids]
    return biases


def _pieces(entries: list[Any]) -> list[list[Any]]:
    return [entries[i : i + _PIECE] for i in range(0, len(entries), _PIECE)]


def _abstract(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)

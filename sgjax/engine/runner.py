"""The device's side of the engine: weights, cache, compiled programs, and steps through them."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from sgjax.engine.batch import Batch, StepResults
from sgjax.engine.buckets import Bucket, pick
from sgjax.engine.compiler_options import OF_KERNEL, Compilation, of_forward, of_others
from sgjax.engine.programs import ALONE, Helpers, Key, Programs, Source, Stopwatch
from sgjax.engine.request import Request
from sgjax.engine.sample_step import SampleParams, Wants, pack_draw, pack_sample
from sgjax.engine.sampler import Logprobs, Variant
from sgjax.engine.step import pack_forward
from sgjax.engine.step_programs import PIECE, DeviceState, StepPrograms, padded
from sgjax.engine.traces import Traces


@dataclasses.dataclass(frozen=True)
class LaunchedStep:
    """A step on its way: `read` waits for it."""

    batch: Batch
    tokens: Any = None
    """An array, or None where nothing was drawn."""
    logprobs: Logprobs | None = None
    has_undrawn: bool = False
    """Whether it has rows of requests with grammars, whose logits are held."""
    vectors: Any = None
    """An array, of a model that pools."""
    clock: Stopwatch = dataclasses.field(default_factory=Stopwatch)

    @property
    def is_computed(self) -> bool:
        """Whether the device is done with it."""
        return self.tokens is None or self.tokens.is_ready()

    def read(self) -> StepResults:
        if self.vectors is not None:
            return _pooled(np.asarray(self.vectors)[: self.batch.num_logits])
        if self.tokens is None:
            return StepResults(np.zeros(0, np.int32))
        outputs = self.tokens, *(self.logprobs or ())
        return StepResults(*(np.asarray(x)[: self.batch.num_logits] for x in outputs))


@dataclasses.dataclass(frozen=True)
class LaunchedDraw:
    """Tokens that were undrawn, on their way."""

    num_tokens: int
    tokens: Array
    logprobs: Logprobs | None = None

    def read(self) -> StepResults:
        """Waits for them."""
        outputs = self.tokens, *(self.logprobs or ())
        return StepResults(*(np.asarray(x)[: self.num_tokens] for x in outputs))


class ModelRunner:
    """Runs batches. One thread calls it; device work is asynchronous until a step is read."""

    def __init__(
        self,
        blueprint: StepPrograms,
        weights: Callable[[], Any],
        platform: str,
        *,
        traces: Traces,
        num_compile_threads: int,
        has_graphs: bool,
        helpers: Helpers = ALONE,
    ):
        """`weights` gives what `blueprint.model.params` are without values: see `load`."""
        self.blueprint = blueprint
        self._read_weights: Callable[[], Any] | None = weights
        self._model = blueprint.model
        self._shape = blueprint.shape
        self._buckets = blueprint.buckets
        self._params = SampleParams(blueprint.shape.num_slots)
        self._is_gpu = platform == "gpu"
        self._cold = set(self._buckets) if self._is_gpu else set()
        """Buckets whose program has never run, where that matters: see `warm_up`."""
        self._weights: Any
        self._state: DeviceState
        self._places: list[Array]
        compilation = functools.partial(
            _compilation, platform=platform, tp_size=blueprint.mesh.size, has_graphs=has_graphs
        )
        sources = {
            key: Source(functools.partial(traces.lower, program), compilation(key), _is_quick(key))
            for key, program in blueprint.untraced.items()
        }
        self.programs = Programs(sources, num_compile_threads, traces.write, helpers)

    def load(self) -> None:
        """Makes the state and loads the weights, once, before the first step. Programs may be
        compiled meanwhile, and even measured: to fill the state takes a GPU some 40 ms, before any
        program is so far, and to load weights a hundredth of its memory's bandwidth."""
        self._state = self.blueprint.new_state()
        self._places = self.blueprint.make_places() if self._is_gpu else []
        assert self._read_weights is not None, "loaded once"
        self._weights = self._read_weights()
        self._read_weights = None  # which keeps the files mapped

    @property
    def weights(self) -> Any:
        """The model's parameters."""
        return self._weights

    @property
    def state(self) -> DeviceState:
        """What the next step will be given, and take."""
        return self._state

    @property
    def serving_keys(self) -> list[Key]:
        """The smallest closed set of programs: with these, every step can run."""
        return self.blueprint.serving_keys

    def reset(self) -> None:
        """Makes the device's state anew: after a failed step the old one may be lost."""
        del self._state  # there is no room for two
        self._state = self.blueprint.new_state()

    def launch(self, batch: Batch) -> LaunchedStep:
        """Starts a step; its results can be read until two more were started. The host does not
        wait for the device."""
        for request in batch.restarted:
            self._params.set(request)
            if request.params.has_penalties:
                self._restart_seen(request)
        wants = Wants(0) if self._model.pools else self._params.wants(batch)
        variant = Variant.GENERAL if wants & Wants.CHANCE else Variant.GREEDY
        bucket = pick(self._compiled_buckets(variant), batch)
        self._write_tables(batch.table_updates[:, bucket.num_updates(self._shape.page_size) :])
        logits = self._forward(batch, bucket)
        if not batch.num_logits:
            return LaunchedStep(batch)
        if self._model.pools:
            logits.copy_to_host_async()
            return LaunchedStep(batch, vectors=logits)
        biased = self._biased(logits, _biases(batch)) if wants & Wants.BIAS else logits
        tokens = self._sample(biased, variant)
        logprobs = None
        if wants & Wants.LOGPROBS:
            logprobs = self.programs["logprobs", bucket.num_logits](logits, tokens)
        _send_to_host(tokens, logprobs)
        if wants & Wants.MASK:
            self._hold(logits)
        return LaunchedStep(batch, tokens, logprobs, has_undrawn=bool(wants & Wants.MASK))

    def draw(self, requests: Sequence[Request], masks: Sequence[np.ndarray]) -> LaunchedDraw:
        """Starts drawing the tokens of requests whose logits are held, and whose known tokens are
        all there before them, from what their masks allow: i32[ceil(V / 32)] each."""
        count = next(n for n in self._compiled_draw_sizes() if n >= len(requests))
        vector = self._draw_vector(requests, count)
        allowed = np.zeros((count, self.blueprint.num_mask_words), np.int32)
        np.stack(masks, out=allowed[: len(masks)])
        logits = biased = self._take(vector, count)
        if biases := [
            (entry, token, value)
            for entry, request in enumerate(requests)
            for token, value in _biases_of(request, request.num_known)
        ]:
            biased = self._biased(logits, biases)
        tokens = self._draw(biased, allowed, vector)
        logprobs = None
        if any(request.return_logprob for request in requests):
            logprobs = self.programs["logprobs", count](logits, tokens)
        _send_to_host(tokens, logprobs)
        return LaunchedDraw(len(requests), tokens, logprobs)

    @property
    def is_warm(self) -> bool:
        """Whether `warm_up` has nothing left to run."""
        return not self._cold

    def warm_up(self) -> bool:
        """Runs the programs of a compiled step that has never run, without any rows, and waits for
        them; False: there is none now.

        A GPU loads a program's kernels and records its graph when it first runs, which takes 30 to
        50 ms, and more memory: better before a request than in its way.
        """
        if self.programs.is_measuring:
            return False
        found = (bucket for bucket in self._buckets if bucket in self._cold)
        bucket = next((b for b in found if all(self._has(b, v) for v in Variant)), None)
        if bucket is None:
            return False
        logits = self._forward(Batch.of([]), bucket)
        if self._model.pools:
            jax.block_until_ready(logits)
            return True
        for variant in Variant:
            tokens = self._sample(logits, variant)
            logprobs = self.programs["logprobs", bucket.num_logits](logits, tokens)
            jax.block_until_ready(logprobs)
        if self.blueprint.has_grammars:
            self._hold(logits)
        if bucket.num_logits in self._compiled_draw_sizes():
            self._warm_up_draw(bucket.num_logits)
        return True

    def _warm_up_draw(self, count: int) -> None:
        nothing = np.zeros((count, self.blueprint.num_mask_words), np.int32)
        vector = self._draw_vector([], count)
        tokens = self._draw(self._take(vector, count), nothing, vector)
        jax.block_until_ready(tokens)

    def _forward(self, batch: Batch, bucket: Bucket) -> Array:
        """Starts the model on a step; its logits."""
        self._cold.discard(bucket)
        self._load(batch, bucket)
        state = self._state
        logits, kv, tables = self.programs["forward", bucket](
            self._weights, state.kv, state.tables, state.last_tokens, state.inbox
        )
        self._state = dataclasses.replace(state, kv=kv, tables=tables)
        return logits

    def _sample(self, logits: Array, variant: Variant) -> Array:
        """Starts the sampler on the logits of the step that was begun last; its tokens, which are
        there until the sampler has been started twice more."""
        state = self._state
        tokens, last_tokens, seen = self.programs["sample", logits.shape[0], variant](
            logits, state.outbox, state.last_tokens, state.seen, state.inbox
        )
        self._state = dataclasses.replace(
            state, last_tokens=last_tokens, seen=seen, outbox=state.unread, unread=tokens
        )
        return tokens

    def _hold(self, logits: Array) -> None:
        """Keeps what the step that was begun last leaves undrawn."""
        state = self._state
        held = self.programs["hold", logits.shape[0]](state.held, logits, state.inbox)
        self._state = dataclasses.replace(state, held=held)

    def _draw_vector(self, requests: Sequence[Request], count: int) -> np.ndarray:
        vector = np.zeros(self.blueprint.draw_vector_size(count), np.int32)
        packed = pack_draw(requests, count, self._params)
        vector[: len(packed)] = packed
        return vector

    def _take(self, vector: np.ndarray, count: int) -> Array:
        """What was held of the requests of a draw's vector."""
        return self.programs["take", count](self._state.held, vector)

    def _draw(self, logits: Array, allowed: np.ndarray, vector: np.ndarray) -> Array:
        """Starts the sampler on what is allowed: i32[R, ceil(V / 32)]; its tokens."""
        state = self._state
        tokens, last_tokens, seen = self.programs["draw", logits.shape[0]](
            logits, allowed, state.last_tokens, state.seen, vector
        )
        self._state = dataclasses.replace(state, last_tokens=last_tokens, seen=seen)
        return tokens

    def close(self, *, wait: bool) -> None:
        """Stops compiling; `wait`: until what has begun is done."""
        self.programs.close(wait=wait)

    def _compiled_buckets(self, variant: Variant) -> Iterable[Bucket]:
        """Those that a step can run in: all of them, once the engine is ready."""
        if self.programs.is_complete:
            return self._buckets
        return (bucket for bucket in self._buckets if self._has(bucket, variant))

    def _has(self, bucket: Bucket, variant: Variant) -> bool:
        return all(key in self.programs for key in self.blueprint.step_keys(bucket, variant))

    def _compiled_draw_sizes(self) -> list[int]:
        """Those that tokens of grammars can be drawn in, smallest first."""
        sizes = self.blueprint.draw_sizes
        if self.programs.is_complete:
            return sizes
        keys = self.blueprint.draw_keys
        return [n for n in sizes if all(key in self.programs for key in keys(n))]

    def _load(self, batch: Batch, bucket: Bucket) -> None:
        """Sends the device what it must know of the step, in one piece."""
        of_forward = self.blueprint.forward_part(bucket)
        vector = np.zeros(padded(of_forward.stop), np.int32)
        vector[of_forward] = pack_forward(batch, bucket, self._shape)
        if not self._model.pools:
            of_sampler = slice(of_forward.start)
            vector[of_sampler] = pack_sample(batch, bucket, self._shape, self._params)
        inbox = self.programs["load", len(vector)](self._state.inbox, vector)
        self._state = dataclasses.replace(self._state, inbox=inbox)

    # What a step needs besides its two programs, rarely.

    def _write_tables(self, updates: np.ndarray) -> None:
        shape = self._shape
        for first in range(0, updates.shape[1], PIECE):
            slots, columns, new = updates[:, first : first + PIECE]
            at = np.full(PIECE, shape.num_slots * shape.max_pages_per_request, np.int32)
            pages = np.zeros(PIECE, np.int32)
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
            tokens = np.full(PIECE, self._model.vocab_size, np.int32)
            counts = np.zeros(PIECE, np.int16)
            tokens[: len(piece)], counts[: len(piece)] = np.array(piece).T
            seen = self.programs["seen"](
                self._state.seen, np.int32(request.slot), np.bool_(i == 0), tokens, counts
            )
            self._state = dataclasses.replace(self._state, seen=seen)

    def _biased(self, logits: Array, biases: list[tuple[int, int, float]]) -> Array:
        """Logits with biases: (entry, token, what to add)."""
        num_logits = logits.shape[0]
        for piece in _pieces(biases):
            rows = np.full(PIECE, num_logits, np.int32)
            tokens = np.zeros(PIECE, np.int32)
            values = np.zeros(PIECE, np.float32)
            rows[: len(piece)] = [row for row, _, _ in piece]
            tokens[: len(piece)] = [token for _, token, _ in piece]
            values[: len(piece)] = [value for _, _, value in piece]
            logits = self.programs["bias", num_logits](logits, rows, tokens, values)
        return logits


def _pooled(vectors: np.ndarray) -> StepResults:
    """Vectors; the token of one that is not finite is -1."""
    tokens = np.where(np.isfinite(vectors).all(axis=1), 0, -1).astype(np.int32)
    return StepResults(tokens, vectors=vectors)


def _compilation(key: Key, platform: str, *, tp_size: int, has_graphs: bool) -> Compilation:
    """How a program is compiled."""
    match key:
        case ("forward", Bucket(num_tokens=num_tokens)):
            return of_forward(num_tokens, platform, tp_size=tp_size, has_graphs=has_graphs)
        case ("product", _):
            return OF_KERNEL
    return of_others(platform)


def _is_quick(key: Key) -> bool:
    """Whether it is traced within some hundredths of a second: all without kernels of ours."""
    match key:
        case ("forward" | "product" | "draw", _) | ("sample", _, Variant.GENERAL):
            return False
    return True


def _send_to_host(tokens: Array, logprobs: Logprobs | None) -> None:
    for output in (tokens, *(logprobs or ())):
        output.copy_to_host_async()


def _biases(batch: Batch) -> list[tuple[int, int, float]]:
    """(entry, token, what to add) of all rows that draw a token with biases now."""
    biases: list[tuple[int, int, float]] = []
    at = -1
    for row in batch.rows:
        at += row.num_logits
        if row.samples and row.request.grammar is None:
            biases += [(at, token, value) for token, value in _biases_of(row.request, row.end)]
    return biases


def _biases_of(request: Request, position: int) -> list[tuple[int, float]]:
    """(token, what to add) for the token at `position`."""
    wanted = request.params.logit_bias or {}
    biases = [(token, float(value)) for token, value in wanted.items()]
    if position - request.num_prompt < request.params.min_new_tokens:
        biases += [(token, -np.inf) for token in request.stop_ids]
    return biases


def _pieces(entries: list[Any]) -> list[list[Any]]:
    return [entries[i : i + PIECE] for i in range(0, len(entries), PIECE)]

"""What runs on the device: the arrays that steps hand on, and every program that changes them."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int16, Int32

from sgjax.cache.kv_cache import LayerCache, abstract_kv, empty
from sgjax.engine import sampler
from sgjax.engine.buckets import Bucket
from sgjax.engine.places import make_places
from sgjax.engine.programs import Key
from sgjax.engine.sample_step import sample_layout
from sgjax.engine.sampler import Variant
from sgjax.engine.step import CacheShape, forward_layout, unpack_forward, update_tables
from sgjax.engine.traces import Donate, Untraced
from sgjax.models import decoder
from sgjax.models.family import ModelConfig
from sgjax.models.products_apart import Call, products_apart
from sgjax.sharding.mesh import AnyMesh, Placement

PIECE = 1024
"""Entries of one call of the small programs: longer lists take several calls."""
_FEW_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as a plain function of plain arrays: forward(params, kv, step) -> (logits, kv), where
    one that pools gives a vector of `num_outputs` in the place of a token's logits."""

    forward: Callable[..., Any]
    params: Any
    """Without values: programs are traced for them."""
    kv: Callable[[int], list[LayerCache]]
    """Keys and values of so many tokens, without values."""
    vocab_size: int
    num_outputs: int
    pools: bool = False
    products_apart: Callable[[list[int]], Iterable[Call]] = lambda sizes: ()
    """Of steps of so many tokens."""

    @classmethod
    def of(
        cls, cfg: ModelConfig, graphdef: Any, params: Any, *, dtype: Any, mesh: AnyMesh
    ) -> "Model":
        return cls(
            functools.partial(decoder.forward, graphdef),
            params,
            functools.partial(abstract_kv, cfg, dtype=dtype, mesh=mesh),
            vocab_size=cfg.vocab_size,
            num_outputs=cfg.num_outputs,
            pools=cfg.pooling is not None,
            products_apart=functools.partial(products_apart, graphdef, params),
        )


@dataclasses.dataclass(frozen=True)
class DeviceState:
    """All that steps change on the device; every step replaces it, its arrays are donated."""

    kv: list[LayerCache]
    tables: Int32[Array, "slots C"]
    last_tokens: Int32[Array, "slots"]
    seen: Int16[Array, "slots V"]
    inbox: Int32[Array, "I"]
    """What the host says of a step: the sampler's vector, then the forward program's. It is one
    array for good: a recorded CUDA graph whose arrays stay in place need not be told new ones."""
    outbox: Int32[Array, "R"]
    """The tokens of the last step but one, which the host has read: the next step's go there."""
    unread: Int32[Array, "R"]
    """Those of the last step. The two take turns: were tokens new arrays, what a step computes on
    the way to them would lie somewhere else each time."""
    held: Float[Array, "slots V"]
    """Logits of tokens that are drawn later; no slot has two. Without grammars there are none. Were
    they left where a step puts them, then those of the next would lie somewhere else."""


@dataclasses.dataclass(frozen=True)
class StepPrograms:
    """The programs of an engine, untraced, by key:

    ("product", i)                      a kernel of the model's that is compiled ahead; never run
    ("load", size)                      puts a vector of the host into the inbox
    ("forward", bucket)                 the model: from the inbox and the state to logits
    ("sample", num_logits, variant)     from logits to tokens
    ("hold", num_logits)                keeps the logits of tokens that are drawn later
    ("take", num_logits), ("draw", num_logits)      from kept logits to tokens that grammars allow
    ("logprobs", num_logits), ("bias", num_logits), "tables", "seen"    what a step needs rarely

    A model that pools has no more than "product", "load", "forward" and "tables".
    """

    model: Model
    shape: CacheShape
    buckets: list[Bucket]
    mesh: AnyMesh
    has_grammars: bool = True
    """Whether there may be any."""

    @property
    def serving_keys(self) -> list[Key]:
        """The smallest closed set: with these, every step can run."""
        last = self.buckets[-1]
        keys: list[Key] = [("load", size) for size in self.inbox_sizes]
        keys += [key for variant in Variant for key in self.step_keys(last, variant)]
        keys += ["tables"] + ["seen"] * (not self.model.pools)
        if self.has_grammars:
            keys += self.draw_keys(self.draw_sizes[-1])
        return list(dict.fromkeys(keys))

    def step_keys(self, bucket: Bucket, variant: Variant) -> list[Key]:
        """What a step of this size needs."""
        keys: list[Key] = [("forward", bucket)]
        if not self.model.pools:
            count = bucket.num_logits
            keys += [("sample", count, variant), ("logprobs", count), ("bias", count)]
            keys += [("hold", count)] * self.has_grammars
        return keys

    def draw_keys(self, count: int) -> list[Key]:
        """What tokens of so many requests with grammars are drawn by."""
        return [(kind, count) for kind in ("take", "bias", "draw", "logprobs")]

    @functools.cached_property
    def draw_sizes(self) -> list[int]:
        """How many tokens are drawn at once, smallest first: as many as there may be requests, and
        so on by halves."""
        if not self.has_grammars:
            return []
        sizes = [min(size for size in self._logits_sizes if size >= self.shape.num_slots)]
        for size in self._logits_sizes:
            if 2 * size <= sizes[-1]:
                sizes.append(size)
        return sizes[::-1]

    @functools.cached_property
    def inbox_sizes(self) -> list[int]:
        """The lengths of all vectors that may be sent, the longest last."""
        return sorted({padded(self.forward_part(bucket).stop) for bucket in self.buckets})

    @property
    def num_mask_words(self) -> int:
        """Of a bit for every token."""
        return -(-self.model.vocab_size // 32)

    def new_state(self) -> DeviceState:
        """An empty cache, and all the rest."""
        return DeviceState(**jax.tree.map(empty, self._state))

    @property
    def _state(self) -> dict[str, Any]:
        """The fields of a DeviceState, without values."""
        slots, vocab_size = self.shape.num_slots, self.model.vocab_size
        tokens = self._input(jnp.int32, self._logits_sizes[0])
        return {
            "kv": self.model.kv(self.shape.num_cache_slots),
            "tables": self._input(jnp.int32, slots, self.shape.max_pages_per_request),
            "last_tokens": self._input(jnp.int32, slots),
            "seen": self._input(jnp.int16, slots * (not self.model.pools), vocab_size),
            "inbox": self._input(jnp.int32, self.inbox_sizes[-1]),
            "outbox": tokens,
            "unread": tokens,
            "held": self._input(jnp.float32, slots * self.has_grammars, vocab_size),
        }

    def make_places(self) -> list[Array]:
        """Places for the vectors and masks of steps with few rows, which take the device no longer
        than the host; what has to be kept for them."""
        sizes = [self.inbox_sizes[0]]
        sizes += [n * self.num_mask_words for n in self.draw_sizes if n <= _FEW_ROWS]
        return [kept for size in sizes for kept in make_places(size, self._replicated)]

    @functools.cached_property
    def untraced(self) -> dict[Key, Untraced]:
        """The programs."""
        state = self._state
        programs = [*self._products(), *self._forward(state), *self._load(state)]
        if not self.model.pools:
            programs += self._of_tokens(state)
        return {program.key: program for program in programs}

    @property
    def _replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    def _products(self) -> Iterator[Untraced]:
        counts = {n for bucket in self.buckets for n in (bucket.num_tokens, bucket.num_logits)}
        sizes = sorted(counts, reverse=True)  # behind the last attention are as many as logits
        for i, (function, given) in enumerate(self.model.products_apart(sizes)):
            yield Untraced(("product", i), function, jax.tree.map(_abstract, given))

    def _forward(self, given: dict[str, Any]) -> Iterator[Untraced]:
        state = [given[name] for name in ("kv", "tables", "last_tokens", "inbox")]
        params = jax.tree.map(_abstract, self.model.params)
        of_kv = jax.tree.map(lambda x: x.sharding, given["kv"])
        shardings = self._replicated, of_kv, self._replicated
        for bucket in reversed(self.buckets):
            yield Untraced(
                ("forward", bucket),
                functools.partial(self._run_model, bucket),
                (params, *state),
                donate=(1, 2),
                out_shardings=shardings,
            )

    def _run_model(
        self,
        bucket: Bucket,
        params: Any,
        kv: list[LayerCache],
        tables: Array,
        last_tokens: Array,
        inbox: Array,
    ) -> tuple[Array, list[LayerCache], Array]:
        vector = inbox[self.forward_part(bucket)]
        step, tables = unpack_forward(vector, tables, last_tokens, bucket=bucket, shape=self.shape)
        logits, kv = self.model.forward(params, kv, step)
        return logits, kv, tables

    def forward_part(self, bucket: Bucket) -> slice:
        """Where the forward program's vector lies in the inbox: after the sampler's."""
        start = sample_layout(bucket.num_logits).size
        return slice(start, start + forward_layout(bucket, self.shape).size)

    def _sample(self, given: dict[str, Any]) -> Iterator[Untraced]:
        state = [given[name] for name in ("outbox", "last_tokens", "seen", "inbox")]
        placement = Placement(self.mesh)
        for count, variant in itertools.product(self._logits_sizes, Variant):
            x = self._logits(count)
            sample = functools.partial(sample_into, variant=variant, placement=placement)
            yield self._plain(("sample", count, variant), sample, x, *state, donate=(1, 2, 3))
        for count in self._logits_sizes * self.has_grammars:
            logits = self._logits(count)
            yield self._plain(
                ("hold", count), sampler.hold, given["held"], logits, given["inbox"], donate=0
            )
        for count in reversed(self.draw_sizes):
            masks = self._input(jnp.int32, count, self.num_mask_words)
            vector = self._input(jnp.int32, self.draw_vector_size(count))
            take = functools.partial(sampler.take, num_logits=count)
            yield self._plain(("take", count), take, given["held"], vector)
            given_to = self._logits(count), masks, *state[1:3], vector
            draw = functools.partial(draw_allowed, most=self._logits_sizes[0], placement=placement)
            yield self._plain(("draw", count), draw, *given_to, donate=(2, 3))

    def draw_vector_size(self, count: int) -> int:
        return padded(sample_layout(count).size)

    def _load(self, given: dict[str, Any]) -> Iterator[Untraced]:
        ints = self._input(jnp.int32, PIECE)
        for size in self.inbox_sizes:
            vector = self._input(jnp.int32, size)
            yield self._plain(("load", size), load_inbox, given["inbox"], vector, donate=0)
        yield self._plain("tables", update_tables, given["tables"], ints, ints, donate=0)

    def _of_tokens(self, given: dict[str, Any]) -> Iterator[Untraced]:
        yield from self._sample(given)
        ints, counts = self._input(jnp.int32, PIECE), self._input(jnp.int16, PIECE)
        floats = self._input(jnp.float32, PIECE)
        for count in self._logits_sizes:
            x = self._logits(count)
            yield self._plain(("logprobs", count), logprobs_of, x, given["outbox"])
            yield self._plain(("bias", count), sampler.add_bias, x, ints, ints, floats)
        slot, is_first = self._input(jnp.int32), self._input(jnp.bool_)
        of_slot = given["seen"], slot, is_first, ints, counts
        yield self._plain("seen", sampler.restart_seen, *of_slot, donate=0)

    @property
    def _logits_sizes(self) -> list[int]:
        """The largest first, as it is compiled first."""
        return sorted({bucket.num_logits for bucket in self.buckets}, reverse=True)

    def _logits(self, count: int) -> jax.ShapeDtypeStruct:
        return self._input(jnp.float32, count, self.model.num_outputs)

    def _plain(
        self, key: Key, function: Callable[..., Any], *given: Any, donate: Donate = ()
    ) -> Untraced:
        """A program whose results are whole on every device."""
        return Untraced(key, function, given, donate=donate, out_shardings=self._replicated)

    def _input(self, dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self._replicated)


def load_inbox(inbox: Int32[Array, "I"], vector: Int32[Array, "n"]) -> Int32[Array, "I"]:
    """The inbox with `vector` at its beginning."""
    return jax.lax.dynamic_update_slice(inbox, vector, (0,))


def sample_into(
    logits: Float[Array, "R V"], outbox: Int32[Array, "most"], *state: Array, **static: Any
) -> tuple[Array, ...]:
    """The sampler's results, with the tokens at the beginning of the outbox."""
    tokens, *state_after = sampler.sample(logits, *state, **static)
    return jax.lax.dynamic_update_slice(outbox, tokens, (0,)), *state_after


def draw_allowed(
    logits: Float[Array, "R V"],
    masks: Int32[Array, "R W"],
    last_tokens: Int32[Array, "slots"],
    seen: Int16[Array, "slots V"],
    vector: Int32[Array, "n"],
    *,
    most: int,
    placement: Placement,
) -> tuple[Array, ...]:
    """The sampler's results where only what `masks` allow is drawn; as many tokens as an outbox
    has. Rows that draw nothing may have any mask."""
    allowed = sampler.only_allowed(logits, masks)
    variant = Variant.GENERAL
    tokens, *state_after = sampler.sample(
        allowed, last_tokens, seen, vector, variant=variant, placement=placement
    )
    return jnp.pad(tokens, (0, most - len(tokens))), *state_after


def logprobs_of(logits: Float[Array, "R V"], outbox: Int32[Array, "most"]) -> sampler.Logprobs:
    """Of the tokens at the beginning of the outbox."""
    return sampler.logprobs_of(logits, outbox[: logits.shape[0]])


def padded(size: int) -> int:
    """A power of two, so that few programs load the vectors of all buckets."""
    return max(1024, 1 << (size - 1).bit_length())


def describe(key: Key) -> str:
    """A program's key, for people."""
    match key:
        case (kind, size):
            return f"{kind} {size}"
        case (kind, size, Variant(value=variant)):
            return f"{kind} {size} {variant}"
    return str(key)


def _abstract(x: Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)

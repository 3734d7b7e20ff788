"""Loads a checkpoint, slice by slice, straight into the shards of a model."""

import concurrent.futures
import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx, traverse_util

from sgjax.errors import CheckpointError
from sgjax.layers.weight import Weight
from sgjax.models.decoder import Params, build
from sgjax.models.family import Family, ModelConfig, Table
from sgjax.models.text_part import OF_IMAGES, PREFIX
from sgjax.sharding.mesh import Placement
from sgjax.sharding.rules import sharding
from sgjax.weights.dummy import random_weight
from sgjax.weights.files import CheckpointFiles
from sgjax.weights.rules import Sizes, Source, Span, axis_sizes, num_experts, sources

OnProgress = Callable[[int, int, str], None]
"""on_progress(bytes done, bytes in all, parameter): called from the thread that loads."""

IGNORED = ("rotary_emb.inv_freq",)
"""Endings of tensors that say nothing new, in any family: buffers that are computed here."""

ROWS_AT_A_TIME = 256

NUM_READERS = 8
"""Parameters in the making at a time; the host holds one shard of each."""


@dataclasses.dataclass(frozen=True)
class Unloaded:
    """A model whose weights lie in its files still, or are random and not drawn yet."""

    graphdef: nnx.GraphDef
    params: Params
    """Without values."""
    _paths: list[Any]
    _arrays: Callable[[OnProgress], Iterable[jax.Array]]

    def load(self, on_progress: OnProgress | None = None) -> Params:
        """The weights: nested dicts of arrays, sharded over the mesh."""
        arrays = self._arrays(on_progress or (lambda done, total, detail: None))
        return traverse_util.unflatten_dict(dict(zip(self._paths, arrays, strict=True)))


def open_model(
    model_dir: str | Path,
    family: Family,
    cfg: ModelConfig,
    placement: Placement,
    *,
    dtype: Any,
    load_format: str = "auto",
) -> Unloaded:
    """A model that can be loaded: its files' headers were read and say what they should.

    `cfg` is `for_tp` of the mesh's size. With load_format "dummy" weights are random and no file is
    opened. Numbers are cast to `dtype`, whatever the files hold.

    Raises:
        CheckpointError: where files are missing or damaged, or tensors are missing, unknown, there
            twice, or of another shape.
    """
    graphdef, weights = _weights(family, cfg, placement)
    if load_format == "dummy":
        arrays = functools.partial(_random, weights, placement, dtype)
    else:
        checkpoint = _checkpoint(model_dir, family, cfg, weights)
        checkpoint.check()
        arrays = functools.partial(checkpoint.load, placement, dtype)
    return Unloaded(graphdef, _abstract(weights, placement, dtype), list(weights), arrays)


def abstract_model(
    family: Family, cfg: ModelConfig, placement: Placement, *, dtype: Any
) -> tuple[nnx.GraphDef, Params]:
    """What `open_model` finds out, without its files."""
    graphdef, weights = _weights(family, cfg, placement)
    return graphdef, _abstract(weights, placement, dtype)


def bytes_per_device(weights: Iterable[Any]) -> int:
    """What arrays take of each device's memory; they may have no values."""
    shards = ((x.sharding.shard_shape(x.shape), x.dtype) for x in weights)
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in shards)


def _weights(
    family: Family, cfg: ModelConfig, placement: Placement
) -> tuple[nnx.GraphDef, dict[Any, Weight]]:
    graphdef, state = nnx.split(build(family, cfg, placement))
    return graphdef, dict(nnx.to_flat_state(state))


def _abstract(weights: dict[Any, Weight], placement: Placement, dtype: Any) -> Params:
    params = {
        path: jax.ShapeDtypeStruct(
            x.shape, x.own_dtype or dtype, sharding=sharding(placement.mesh, x.axes)
        )
        for path, x in weights.items()
    }
    return traverse_util.unflatten_dict(params)


def check_checkpoint(
    model_dir: str | Path, family: Family, cfg: ModelConfig, placement: Placement
) -> int:
    """Whether every tensor is there, used, and of the right shape; how many there are. Reads the
    files' headers only.

    Raises:
        CheckpointError: as `open_model`.
    """
    _, weights = _weights(family, cfg, placement)
    checkpoint = _checkpoint(model_dir, family, cfg, weights)
    checkpoint.check()
    return len(checkpoint.files.names)


def _checkpoint(
    model_dir: str | Path, family: Family, cfg: ModelConfig, weights: dict[Any, Weight]
) -> "_Checkpoint":
    by_name = {".".join(map(str, path)): weight for path, weight in weights.items()}
    return _Checkpoint(CheckpointFiles(Path(model_dir)), family, cfg, by_name)


def _random(
    weights: dict[Any, Weight], placement: Placement, dtype: Any, report: OnProgress
) -> Iterable[jax.Array]:
    for seed, (path, weight) in enumerate(weights.items()):
        name = ".".join(map(str, path))
        place = sharding(placement.mesh, weight.axes)
        own = weight.own_dtype or dtype
        yield random_weight(weight.shape, own, place, seed=seed, ones=path[-1] == "scale")
        report(seed + 1, len(weights), name)


class _Checkpoint:
    """The tensors of a checkpoint, and where each of them goes in one model."""

    def __init__(
        self, files: CheckpointFiles, family: Family, cfg: ModelConfig, weights: dict[str, Weight]
    ):
        self.files = files
        self.sizes: Sizes = axis_sizes(cfg)
        self.weights = weights
        self.cfg = cfg
        self.sources: dict[str, list[Source]] = defaultdict(list)
        self.unused: list[Source] = []
        self.ignored = (*IGNORED, *family.ignored, *(OF_IMAGES if _prefix(files) else ()))
        self.drafts = tuple(
            f"model.layers.{cfg.num_layers + layer}." for layer in range(cfg.draft_layers)
        )
        table = _table(family, cfg, files)
        for source in sources(table, cfg.num_layers, num_experts(cfg)):
            if source.path in weights:
                self.sources[source.path].append(source)
            else:
                self.unused.append(source)

    def check(self) -> None:
        """Every tensor is there, used, and of the shape that the model's sizes ask for."""
        wanted = {
            name: shape
            for group in self.sources.values()
            for source in group
            for name, shape in source.tensors(self.sizes).items()
        }
        found = {name for name in self.files.names if not self._is_ignored(name)}
        found -= {source.tensor for source in self.unused if self._may_lack(source.path)}
        problems = [f"missing: {name}" for name in wanted if name not in found]
        problems += [f"unknown: {name}" for name in sorted(found - wanted.keys())]
        for name in sorted(found & wanted.keys()):
            if self.files.shape(name) != wanted[name]:
                problems.append(f"{name} is {self.files.shape(name)}, but should be {wanted[name]}")
        if problems:
            more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
            raise CheckpointError(
                f"The checkpoint in {self.files.folder} is not the {self.cfg.architecture} that "
                "its config.json describes:\n  " + "\n  ".join(problems[:10]) + more
            )

    def _is_ignored(self, name: str) -> bool:
        beginnings = (each for each in self.ignored if each.endswith("."))
        return name.endswith(self.ignored) or name.startswith((*beginnings, *self.drafts))

    def _may_lack(self, path: str) -> bool:
        """Whether the model may have no such parameter, though the checkpoint has a tensor for it:
        heads that it shares with the embedding, or has no use for."""
        if path == "head.table":
            return self.cfg.tie_embeddings
        return self.cfg.pooling is not None and path.startswith("pooler.")

    def load(self, placement: Placement, dtype: Any, report: OnProgress) -> list[jax.Array]:
        """The arrays, in the order of `weights`."""
        load = functools.partial(self._load_one, placement, np.dtype(dtype))
        sizes = {
            path: sum(
                self.files.num_bytes(name)
                for source in self.sources[path]
                for name in source.tensors(self.sizes)
            )
            for path in self.weights
        }
        total, done, arrays = sum(sizes.values()), 0, []
        with concurrent.futures.ThreadPoolExecutor(NUM_READERS) as readers:
            for (path, size), array in zip(sizes.items(), readers.map(load, sizes), strict=True):
                arrays.append(array)
                done += size
                report(done, total, path)
        return arrays

    def _load_one(self, placement: Placement, dtype: np.dtype, path: str) -> jax.Array:
        weight = self.weights[path]
        dtype = np.dtype(weight.own_dtype or dtype)
        place = sharding(placement.mesh, weight.axes)

        def shard(index: tuple[slice, ...] | None) -> np.ndarray:
            spans = [
                at.indices(size)[:2] for at, size in zip(index or (), weight.shape, strict=True)
            ]
            return self._shard(path, spans, dtype)

        array = jax.make_array_from_callback(weight.shape, place, shard, dtype=dtype)
        return jax.block_until_ready(array)

    def _shard(self, path: str, spans: list[Span], dtype: np.dtype) -> np.ndarray:
        """A device's share of a parameter, put together from all tensors that it holds of it."""
        out = np.empty([stop - start for start, stop in spans], dtype)
        parts = dict(self.weights[path].parts)
        for source in self.sources[path]:
            inside, place = list(spans), [slice(None)] * out.ndim
            if source.part is not None:
                at = parts[source.part]
                inside[at.axis] = (0, at.stop - at.start)
                place[at.axis] = slice(at.start, at.stop)
            if source.expert is None:
                block = source.read(self.files.read, tuple(inside), self.sizes)
                _copy(out[tuple(place)], block)
                continue
            (first, stop), *inside = inside
            if first <= source.expert < stop:
                block = source.read(self.files.read, tuple(inside), self.sizes)
                _copy(out[(source.expert - first, *place[1:])], block)
        return out


def _prefix(files: CheckpointFiles) -> str:
    """What all names of a text part begin with; else nothing."""
    return PREFIX if any(name.startswith(PREFIX) for name in files.names) else ""


def _table(family: Family, cfg: ModelConfig, files: CheckpointFiles) -> Table:
    """The family's, with the names that this checkpoint has."""
    prefix = _prefix(files)
    names = [name.removeprefix(prefix) for name in files.names]
    return {prefix + name: target for name, target in _plain_table(family, cfg, names).items()}


def _plain_table(family: Family, cfg: ModelConfig, names: list[str]) -> Table:
    """Of a model without a head names may lack their common prefix, whatever the architecture is
    called, and a decoder's that classifies has its scores beside it."""
    if cfg.pooling is None:
        return family.weights
    is_bare = not any(name.startswith(family.prefix) for name in names)
    older = {
        new: old
        for new, old in family.older_endings.items()
        if any(name.endswith(old) for name in names)
    }
    table = {
        _renamed(name.removeprefix(family.prefix) if is_bare else name, older): target
        for name, target in family.weights.items()
    }
    if cfg.pooling.head is not None:
        return table
    if cfg.pooling.is_sglangs:
        return table | {
            "classification_head.weight": ("pooler.score", "y d -> y d"),
            "classification_head.bias": ("pooler.score_bias", "y -> y"),
        }
    return table | {"score.weight": ("pooler.score", "y d -> y d")}


def _renamed(name: str, endings: Mapping[str, str]) -> str:
    for new, old in endings.items():
        if name.endswith(new):
            return name.removesuffix(new) + old
    return name


def _copy(out: np.ndarray, block: np.ndarray) -> None:
    """out[...] = block, some rows of the tensor at a time: 2.5 times as fast where they turn into
    columns, since what is read then stays in the CPU's cache until all of it was used."""
    rows = int(np.argmax(block.strides))
    for start in range(0, block.shape[rows], ROWS_AT_A_TIME):
        at = (*[slice(None)] * rows, slice(start, start + ROWS_AT_A_TIME))
        out[at] = block[at]

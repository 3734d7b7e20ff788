"""What a checkpoint is, and whether it fits: `sgjax inspect`. Nothing is loaded."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh

from sgjax.cache.kv_cache import kv_bytes_per_token
from sgjax.config import ServeConfig
from sgjax.engine.sizing import memory_share
from sgjax.models import FAMILIES, generator_of, read_model_config
from sgjax.models.family import Family, ModelConfig
from sgjax.sharding.mesh import Placement, mesh_without_devices
from sgjax.weights.hub import model_folder
from sgjax.weights.load import abstract_model, bytes_per_device, check_checkpoint

_GIB = 2**30
_DTYPES = {"auto": "bfloat16", "float": "float32", "half": "float16"}
"""By their other names; "auto" is as on accelerators, whatever computes here."""


def report(config: ServeConfig, device_memory: int | None = None) -> Iterator[str]:
    """Lines for people. `device_memory`: bytes of a device; None: those of this machine's.

    Raises:
        ConfigError: for a model that cannot be served, or not in this way; CheckpointError: whose
            tensors are not what config.json says.
    """
    folder = model_folder(config)
    family, cfg = read_model_config(
        folder, context_length=config.context_length, is_embedding=config.is_embedding
    )
    count = _count_parameters(family, cfg)
    cfg = cfg.for_tp(config.tp_size, ep=config.ep_size)
    mesh = mesh_without_devices(config.tp_size, ep_size=config.ep_size)
    dtype = jnp.dtype(_DTYPES.get(config.dtype, config.dtype))
    _, params = abstract_model(family, cfg, Placement(mesh), dtype=dtype)
    weights = jax.tree.leaves(params)
    file = FAMILIES.get(cfg.architecture) or FAMILIES[generator_of(cfg.architecture)]
    yield f"{cfg.architecture}, family {file}, in {folder}"
    yield from _sizes(cfg)
    yield f"parameters      {count:,}, in {dtype.name} {_gib(count * dtype.itemsize)}"
    yield from _devices(cfg, weights, dtype, mesh, config, device_memory)
    yield from _files(folder, family, cfg, mesh)


def _count_parameters(family: Family, cfg: ModelConfig) -> int:
    """As the checkpoint has them: devices may hold heads twice, and a vocabulary that is padded."""
    _, params = abstract_model(family, cfg, Placement(mesh_without_devices(1)), dtype=jnp.bfloat16)
    return sum(math.prod(weight.shape) for weight in jax.tree.leaves(params))


def _sizes(cfg: ModelConfig) -> Iterator[str]:
    yield f"layers          {cfg.num_layers}, {cfg.d_model} wide"
    heads = f"{cfg.num_heads} heads of {cfg.head_size}"
    if cfg.mla is not None:
        heads = f"{cfg.num_heads} heads, to latents of {cfg.mla.kv_latent} + {cfg.head_size}"
    elif cfg.num_heads != cfg.num_kv_heads:
        heads += f", {cfg.num_kv_heads // cfg.kv_repeat} of keys and values"
    yield f"attention       {heads}"
    for what, of_layer in (("windows", cfg.window), ("chunks", cfg.chunk)):
        if sizes := [size for size in map(of_layer, range(cfg.num_layers)) if size]:
            named = ", ".join(map(str, sorted(set(sizes))))
            yield f"{what:16}{named} in {len(sizes)} layers"
    if cfg.moe is not None:
        yield (
            f"experts         {cfg.moe.num_experts}, {cfg.moe.d_expert} wide, "
            f"{cfg.moe.top_k} of them for a token"
        )
    else:
        yield f"feed-forward    {cfg.d_ff} wide"
    yield f"vocabulary      {cfg.vocab_size:,}"
    yield f"context         {cfg.context_length:,} tokens"
    if cfg.pooling is not None:
        what = f"scores of {len(cfg.pooling.labels)} labels" if cfg.pooling.labels else "a vector"
        of = {"mean": "the mean of all tokens' states"}.get(
            cfg.pooling.of, f"the {cfg.pooling.of} token's state"
        )
        yield f"gives           {what}, of {of}, not text"


def _devices(
    cfg: ModelConfig,
    weights: list[Any],
    dtype: Any,
    mesh: AbstractMesh,
    config: ServeConfig,
    device_memory: int | None,
) -> Iterator[str]:
    held = bytes_per_device(weights)
    per_token = kv_bytes_per_token(cfg, dtype, tp=mesh.size)
    yield f"a device        of {mesh.size}: weights {_gib(held)}, cache {per_token:,} bytes a token"
    memory, whose = device_memory or _memory(), "given" if device_memory else "of this machine"
    room = int(memory * memory_share(config, mesh.size)) - held
    tokens = max(room, 0) // per_token
    if tokens < config.page_size:
        yield (
            f"does not fit    {_gib(memory)} ({whose}) a device: {_gib(-room)} too little. Spread "
            "it with --tp-size."
        )
        return
    yield (
        f"fits            {_gib(memory)} ({whose}) a device: {tokens:,} tokens of cache beside the "
        f"weights, {tokens / cfg.context_length:.1f} requests of the whole context"
    )


def _files(folder: Path, family: Family, cfg: ModelConfig, mesh: AbstractMesh) -> Iterator[str]:
    if not any(folder.glob("*.safetensors")):
        yield "weights         none here (--load-format dummy makes some by chance)"
        return
    count = check_checkpoint(folder, family, cfg, Placement(mesh))
    yield f"weights         {count} tensors, all that there should be, of the right shapes"


def _memory() -> int:
    """Of the first device: what JAX may take of it, or a CPU's memory."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.2f} GiB"

"""From options to an engine that can run: the model loaded, the cache sized, programs named."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from sgjax.cache.kv_cache import kv_bytes_per_token
from sgjax.cache.prefix_cache import PrefixCache
from sgjax.config import ServeConfig
from sgjax.engine import sizing
from sgjax.engine.buckets import Bucket, BucketSizes, make_buckets, min_shared_rows
from sgjax.engine.compile_cache import use_compile_cache
from sgjax.engine.costs import step_cost
from sgjax.engine.fingerprint import surroundings
from sgjax.engine.grammars import Grammars
from sgjax.engine.messages import EngineInfo, ModelTask, Progress
from sgjax.engine.pace import Pace
from sgjax.engine.programs import ALONE, ENOUGH_THREADS, Helpers
from sgjax.engine.runner import ModelRunner
from sgjax.engine.scheduler import Limits, Scheduler
from sgjax.engine.sharing import Sharing
from sgjax.engine.step import CacheShape
from sgjax.engine.step_programs import Model, StepPrograms
from sgjax.engine.trace_workers import Device, Task, TraceWorkers
from sgjax.engine.traces import Traces
from sgjax.kernels_pallas.triton_dialect import announce_triton_dialect
from sgjax.models import read_model_config
from sgjax.models.family import ModelConfig
from sgjax.sharding.mesh import Placement, make_mesh
from sgjax.text import load_tokenizer
from sgjax.weights.generation_config import read_generation_config
from sgjax.weights.hub import model_folder, tokenizer_folder
from sgjax.weights.load import bytes_per_device, open_model

_DTYPES = {
    "float32": jnp.float32,
    "float": jnp.float32,
    "bfloat16": jnp.bfloat16,
    "float16": jnp.float16,
    "half": jnp.float16,
}


_MAX_QUEUED = 1 << 20
"""A last resort: the server's front counts requests and refuses before it tokenises."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """All parts of an engine."""

    runner: ModelRunner
    scheduler: Scheduler
    info: EngineInfo
    pace: Pace | None
    """The scheduler's, as soon as every program is compiled."""
    grammars: Grammars | None = None
    """None: there can be none."""


def prepare(config: ServeConfig, on_progress: Callable[[Progress], None]) -> Setup:
    """Makes the parts. Nothing is compiled yet, and the weights are not loaded: `runner.load` does.

    Raises:
        ConfigError: for options that do not fit the model or the devices, and damaged checkpoints.
    """
    sizing.reserve_device_memory(config.tp_size)
    mesh = make_mesh(config.tp_size, ep_size=config.ep_size)
    devices = list(mesh.devices.flat)
    traces_folder = use_compile_cache(config.compile_cache_dir)
    if devices[0].platform == "gpu":
        announce_triton_dialect()
    folder = model_folder(config)
    family, cfg = read_model_config(
        folder, context_length=config.context_length, is_embedding=config.is_embedding
    )
    cfg = cfg.for_tp(config.tp_size, ep=config.ep_size)
    dtype = _dtype(config, devices[0])
    unloaded = open_model(
        folder,
        family,
        cfg,
        Placement(mesh, _attention(config)),
        dtype=dtype,
        load_format=config.load_format,
    )
    graphdef, params = unloaded.graphdef, unloaded.params
    shape = _cache_shape(config, cfg, dtype, bytes_per_device(jax.tree.leaves(params)), devices)
    max_tokens = sizing.max_step_tokens(config, cfg.context_length, devices[0])
    if cfg.needs_whole_texts:
        max_tokens = max(max_tokens, cfg.context_length)
    sizes = _bucket_sizes(config, cfg, devices[0])
    buckets = make_buckets(sizes, max_rows=shape.num_slots, max_tokens=max_tokens)
    if cfg.pooling is not None:  # nobody decodes
        buckets = [bucket for bucket in buckets if not bucket.only_decode]
    model = Model.of(cfg, graphdef, params, dtype=dtype, mesh=mesh)
    blueprint = StepPrograms(model, shape, buckets, mesh, _has_grammars(config, cfg))
    traces = Traces.of_model(traces_folder, mesh, graphdef, cfg, shape, buckets)
    runner = ModelRunner(
        blueprint,
        lambda: unloaded.load(lambda *news: on_progress(Progress("load", *news))),
        devices[0].platform,
        traces=traces,
        num_compile_threads=_num_threads(),
        has_graphs=not config.disable_cuda_graph,
        helpers=_helpers(
            config,
            folder,
            cfg,
            dtype,
            blueprint=blueprint,
            traces=traces,
            count=_num_trace_workers(devices[0]),
        ),
    )
    limits = Limits(
        num_pages=shape.num_pages,
        page_size=shape.page_size,
        num_slots=shape.num_slots,
        max_step_tokens=buckets[-1].num_tokens,
        max_prefill_tokens=config.max_prefill_tokens,
        max_logits=buckets[-1].num_logits,
        context_length=cfg.context_length,
        max_pages_per_request=shape.max_pages_per_request,
        max_queued=_MAX_QUEUED,
        has_whole_texts=cfg.needs_whole_texts,
    )
    is_cached = not (config.disable_radix_cache or cfg.needs_whole_texts)
    cache = PrefixCache(limits.num_pages, limits.page_size, enabled=is_cached)
    scheduler = Scheduler(
        limits,
        cache,
        policy=config.schedule_policy,
        conservativeness=config.schedule_conservativeness,
        seed=config.random_seed or 0,
        sharing=_sharing(buckets, shape),
        jumps=not config.disable_jump_forward,
    )
    info = _info(config, cfg, folder, shape, dtype, devices)
    grammars = _grammars(config, runner, scheduler, info) if _has_grammars(config, cfg) else None
    return Setup(runner, scheduler, info, _pace(config, cfg, buckets), grammars)


def _attention(config: ServeConfig) -> str | None:
    return None if config.attention_backend == "auto" else config.attention_backend


def _has_grammars(config: ServeConfig, cfg: ModelConfig) -> bool:
    if cfg.pooling is not None:
        return False
    return config.grammar_backend != "none" and not config.skip_tokenizer_init


def _grammars(
    config: ServeConfig, runner: ModelRunner, scheduler: Scheduler, info: EngineInfo
) -> Grammars:
    folder = tokenizer_folder(config)

    def read_tokenizer() -> str:
        return load_tokenizer(folder, mode=config.tokenizer_mode).backend.to_str()

    sizes = {"vocab_size": info.vocab_size, "eos_ids": info.eos_ids}
    return Grammars(runner, scheduler, read_tokenizer, **sizes)


def _dtype(config: ServeConfig, device: jax.Device) -> jnp.dtype:
    """On a CPU bfloat16 products are many times slower than float32, so "auto" avoids them."""
    default = "float32" if device.platform == "cpu" else "bfloat16"
    return jnp.dtype(_DTYPES[default if config.dtype == "auto" else config.dtype])


def _bucket_sizes(config: ServeConfig, cfg: ModelConfig, device: jax.Device) -> BucketSizes:
    """Layers with a window or a chunk, or with latents, read prefixes row by row; without the tree
    there are none to share."""
    sizes = sizing.bucket_sizes(device)
    if cfg.needs_whole_texts:
        sizes = sizes.up_to(cfg.context_length)
    has_tree = not (config.disable_radix_cache or cfg.needs_whole_texts)
    reads_alone = cfg.mla is not None or not any(map(cfg.sees_all, range(cfg.num_layers)))
    if not has_tree or reads_alone:
        return dataclasses.replace(sizes, shared_from=None)
    return sizes


def _sharing(buckets: list[Bucket], shape: CacheShape) -> Sharing | None:
    min_rows = min_shared_rows(buckets)
    return None if min_rows is None else Sharing(shape.page_size, min_rows=min_rows)


def _pace(config: ServeConfig, cfg: ModelConfig, buckets: list[Bucket]) -> Pace | None:
    if not config.max_itl_ratio or cfg.pooling is not None:
        return None
    sizes = {bucket.num_tokens for bucket in buckets if not bucket.only_decode}
    return Pace(cost=step_cost(cfg), sizes=sorted(sizes), max_ratio=config.max_itl_ratio)


def _cache_shape(
    config: ServeConfig,
    cfg: ModelConfig,
    dtype: jnp.dtype,
    weight_bytes: int,
    devices: list[jax.Device],
) -> CacheShape:
    num_pages = sizing.num_pages(
        config,
        bytes_per_token=kv_bytes_per_token(cfg, dtype, tp=len(devices)),
        weight_bytes=weight_bytes,
        context_length=cfg.context_length,
        devices=devices,
    )
    longest = -(-cfg.context_length // config.page_size)
    return CacheShape(
        num_pages=num_pages,
        page_size=config.page_size,
        num_slots=sizing.max_running_requests(config, devices[0]),
        max_pages_per_request=min(longest, num_pages),
    )


def _info(
    config: ServeConfig,
    cfg: ModelConfig,
    folder: Path,
    shape: CacheShape,
    dtype: jnp.dtype,
    devices: list[jax.Device],
) -> EngineInfo:
    generation = read_generation_config(folder)
    return EngineInfo(
        architecture=cfg.architecture,
        vocab_size=cfg.vocab_size,
        context_length=cfg.context_length,
        max_total_tokens=shape.num_cache_slots,
        max_running_requests=shape.num_slots,
        page_size=shape.page_size,
        tp_size=config.tp_size,
        eos_ids=list(generation.eos_ids),
        dtype=dtype.name,
        device=devices[0].device_kind,
        task=_task(cfg),
        labels=list(cfg.pooling.labels) if cfg.pooling else [],
        num_token_types=max(cfg.num_token_types, 1),
        default_sampling=dict(generation.sampling),
    )


def _task(cfg: ModelConfig) -> ModelTask:
    if cfg.pooling is None:
        return "generate"
    return "classify" if cfg.pooling.labels else "embed"


def _helpers(
    config: ServeConfig,
    folder: Path,
    cfg: ModelConfig,
    dtype: jnp.dtype,
    *,
    blueprint: StepPrograms,
    traces: Traces,
    count: int,
) -> Helpers:
    """Who traces for the engine: nobody, where there is no folder to meet in."""
    device = blueprint.mesh.abstract_mesh.abstract_device
    if traces.folder is None or device is None or not count:
        return ALONE
    task = Task(
        model_folder=str(folder),
        context_length=config.context_length,
        is_embedding=config.is_embedding,
        tp_size=config.tp_size,
        ep_size=config.ep_size,
        cfg=repr(cfg),
        attention=_attention(config),
        dtype=dtype.name,
        shape=blueprint.shape,
        buckets=blueprint.buckets,
        has_grammars=blueprint.has_grammars,
        device=Device(device.device_kind, device.num_cores, device.platform),
        platform=export.default_export_platform(),
        compile_cache_dir=config.compile_cache_dir,
        traces_folder=str(traces.folder),
        fingerprint=traces.fingerprint,
        surroundings=surroundings(),
    )
    return TraceWorkers(task, blueprint.untraced, traces, count)


def _num_threads() -> int:
    return min(os.cpu_count() or 1, 16)


def _num_trace_workers(device: jax.Device) -> int:
    """One for four cores, which compile too, and none where these are few; more than four trace
    little more than the engine takes in meanwhile (20 ms a program)."""
    num_cores = os.cpu_count() or 1
    if num_cores < ENOUGH_THREADS or not _is_known(device):
        return 0
    return min(num_cores // 4, 4)


def _is_known(device: jax.Device) -> bool:
    """Whether JAX lowers kernels for it where it is not; below 0.11 it takes any GPU for a 9.0."""
    is_gpu = device.platform == "gpu"
    return not is_gpu or jax.__version_info__ >= (0, 11) or device.compute_capability == "9.0"
